"""llama.cpp with one model loaded, and the threads that are inside it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

from headrace.embedded import EngineSettings, open_server
from headrace.errors import UpstreamUnavailable
from headrace.providers.local.generation import ChatServer, Generation


class Server(ChatServer, Protocol):
    """The part of `xllamacpp.Server` that is used; it has no types of its own."""

    def handle_metrics(self) -> str:
        """llama.cpp's counters in Prometheus' text format, without waiting for a step to end."""
        ...


class Engine:
    """Owns the loaded model and every thread inside it.

    A process that ends while a thread is inside llama.cpp is aborted by the C++ runtime: `shut_down` must come first.
    """

    def __init__(self, server: Server, to_grammar: Callable[[dict[str, Any]], str]) -> None:
        self._server: Server | None = server
        self._generations: set[Generation] = set()
        self.to_grammar = to_grammar
        """Turns a JSON Schema into what the request field `grammar` takes."""

    @classmethod
    def load(cls, settings: EngineSettings) -> Engine:
        """Load the model: see `open_server`."""
        server = open_server(settings)
        binding: Any = importlib.import_module("xllamacpp")
        return cls(cast(Server, server), binding.json_schema_to_grammar)

    def generate(self, body: bytes, ended: Callable[[], None]) -> Generation:
        """Begin an answer; `ended` is called on the event loop once llama.cpp is done with it, whatever happened.

        Raises:
            UpstreamUnavailable: after `shut_down`.
        """
        if self._server is None:
            raise UpstreamUnavailable("the embedded model has been shut down")
        generation = Generation(self._server, body)

        def done() -> None:
            self._generations.discard(generation)
            ended()

        self._generations.add(generation)
        generation.start(done)
        return generation

    def metrics(self) -> str:
        """llama.cpp's own counters in Prometheus' text format.

        Raises:
            UpstreamUnavailable: after `shut_down`.
        """
        if self._server is None:
            raise UpstreamUnavailable("the embedded model has been shut down")
        return self._server.handle_metrics()

    def shut_down(self) -> None:
        """Stop every answer, wait for its thread, then free the model. Blocks; a second call does nothing."""
        generations = tuple(self._generations)
        for generation in generations:
            generation.stop()
        for generation in generations:
            generation.join()
        # The last reference: its destructor stops llama.cpp's loop and HTTP server and joins their threads.
        self._server = None
