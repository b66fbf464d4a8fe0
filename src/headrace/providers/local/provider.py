"""The provider: requests in, batches of chunks out, a few answers at a time."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from pathlib import Path

from headrace.dialects import DIALECTS
from headrace.dialects.base import unsupported
from headrace.embedded import EngineSettings
from headrace.errors import (
    ConfigError,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamRejected,
    UpstreamUnavailable,
)
from headrace.events import Chunk
from headrace.messages import Request
from headrace.providers.local.answer import Answer, Call, Text
from headrace.providers.local.engine import Engine
from headrace.providers.local.generation import Generation
from headrace.providers.local.question import ask, check_length
from headrace.providers.local.slots import Slots


class LocalProvider:
    """SmolLM2-135M-Instruct in this process. `slots` answers are written at once, `queue` requests wait for a turn.

    It belongs to the event loop that `start` ran on. Do not fork after `start`: llama.cpp's threads stay behind.
    """

    name = "local"

    def __init__(
        self,
        *,
        model: Path | None = None,
        slots: int = 4,
        queue: int = 16,
        context: int = 2048,
        threads: int | None = None,
    ) -> None:
        """`model` is a GGUF file, None the installed one; `context` is in tokens per slot; see `EngineSettings`."""
        if min(slots, context) < 1 or queue < 0 or (threads is not None and threads < 1):
            raise ConfigError("the embedded model needs at least one slot, one thread and one token of context")
        self._settings = EngineSettings(model=model, slots=slots, context=context, threads=threads)
        self._slots = Slots(slots, queue)
        self._engine: Engine | None = None
        self._at_exit: weakref.finalize[[], LocalProvider] | None = None

    def check(self, request: Request) -> None:
        """Refuse fields that it does not read; what else it cannot do is refused when it is asked, before a token."""
        for name in DIALECTS[request.dialect].unsaid(request):
            raise unsupported(name, "The embedded model cannot be told of it.")

    async def start(self) -> None:
        """Load the model, if that has not been done. The event loop stands for most of the 0.3 to 0.6 s.

        Raises:
            ConfigError: with the command that installs what is missing (`local_model_missing`).
        """
        if self._engine is not None:
            return
        engine = await asyncio.to_thread(Engine.load, self._settings)
        self._engine = engine
        # For a process that ends without `close`: leaving while llama.cpp computes is a crash.
        self._at_exit = weakref.finalize(self, engine.shut_down)

    async def close(self) -> None:
        """Stop every answer, send away who waits, and free the model; no thread of it is left afterwards."""
        engine, self._engine = self._engine, None
        self._slots.close()
        if engine is not None:
            await asyncio.to_thread(engine.shut_down)
        if self._at_exit is not None:
            self._at_exit.detach()

    async def metrics(self) -> str:
        """llama.cpp's own counters in Prometheus' text format: what it is doing, as it says itself.

        Raises:
            UpstreamUnavailable: the model is not loaded.
        """
        return await asyncio.to_thread(self._running().metrics)

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """Answer a request; the first chunk comes before the prompt has been read.

        Closing the generator, or cancelling the task that runs it, stops llama.cpp after the step that it is in (10 to
        30 ms while it writes, up to 0.3 s while it reads a prompt) and returns once it has let go.

        Raises:
            BadRequest: the request asks for what this model cannot do, or its prompt is too long.
            RateLimited: every slot is taken and the queue is full.
            UpstreamError: llama.cpp refused or failed, or the provider was closed.
        """
        check_length(request, self._settings.context)
        question = ask(request, self._running().to_grammar)
        await self._slots.take()
        try:
            generation = self._running().generate(question.body, self._slots.give_back)
        except BaseException:
            self._slots.give_back()
            raise
        answer = Answer(self.name, model, Call() if question.is_call else Text())
        try:
            while frames := await generation.read():
                if chunks := answer.feed(frames):
                    yield chunks
                if answer.error is not None:
                    raise answer.error
            self._check(answer, generation)
        finally:
            await generation.end()

    def _running(self) -> Engine:
        if self._engine is None:
            raise UpstreamUnavailable("the embedded model is not loaded: it is being shut down, or never started")
        return self._engine

    def _check(self, answer: Answer, generation: Generation) -> None:
        if answer.closed:
            return
        self._running()  # raises when it was stopped by `close`
        if isinstance(generation.error, ValueError):  # what llama.cpp throws at a schema that it cannot use
            raise UpstreamRejected(f"llama.cpp: {generation.error}") from generation.error
        if generation.error is not None:
            raise UpstreamError(f"llama.cpp: {generation.error!r}") from generation.error
        raise UpstreamIncomplete("llama.cpp ended without its last frame")
