"""The embedded model where it is a process of its own, which several workers ask over loopback."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from typing import Any

from headrace.codecs import DEFAULT_MAX_BYTES
from headrace.codecs.sse import SSEDecoder
from headrace.config import Secret
from headrace.dialects import DIALECTS
from headrace.dialects.base import unsupported
from headrace.errors import UpstreamIncomplete
from headrace.events import Chunk
from headrace.messages import Request
from headrace.providers.http import EVENT_STREAM, HttpSettings, Upstream
from headrace.providers.local.answer import Answer, Call, Text
from headrace.providers.local.question import ask, check_length
from headrace.providers.local.slots import Slots
from headrace.providers.redaction import Redactor

_END = b"[DONE]"


class LocalServer:
    """The same questions and answers as `LocalProvider`'s, with llama.cpp's own HTTP server between.

    Slots are the model's, for all workers: each worker sends as many requests as there are, and llama.cpp lets those of
    the others wait. The queue is each worker's own.
    """

    name = "local"

    def __init__(self, base_url: str, api_key: Secret, *, slots: int = 4, queue: int = 16, context: int = 2048) -> None:
        """`base_url` is without a slash at its end; the rest as for `LocalProvider`."""
        key = api_key.reveal()
        headers = (("Authorization", f"Bearer {key}"),)
        self._upstream = Upstream(HttpSettings(base_url=base_url, headers=headers), Redactor([key]))
        self._slots = Slots(slots, queue)
        self._context = context

    def check(self, request: Request) -> None:
        """Refuse fields that it does not read: see `LocalProvider.check`."""
        for name in DIALECTS[request.dialect].unsaid(request):
            raise unsupported(name, "The embedded model cannot be told of it.")

    async def start(self) -> None:
        """Open a connection ahead."""
        await self._upstream.start()

    async def close(self) -> None:
        """Send away who waits, and close every connection."""
        self._slots.close()
        await self._upstream.close()

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """Answer a request: see `LocalProvider.stream`.

        Closing the generator, or cancelling the task that runs it, closes the connection, at which llama.cpp stops.

        Raises:
            BadRequest: the request asks for what this model cannot do, or its prompt is too long.
            RateLimited: every slot is taken and the queue is full.
            UpstreamError: llama.cpp refused or failed, or is not there now.
        """
        check_length(request, self._context)
        question = ask(request, _to_grammar)
        answer = Answer(self.name, model, Call() if question.is_call else Text())
        frames = SSEDecoder(max_line_bytes=DEFAULT_MAX_BYTES, max_event_bytes=DEFAULT_MAX_BYTES)
        await self._slots.take()
        try:
            async with self._upstream.post("/chat/completions", question.body, EVENT_STREAM) as reply:
                while data := await reply.read():
                    if chunks := answer.feed([frame.data for frame in frames.feed(data) if frame.data != _END]):
                        yield chunks
                    if answer.error is not None:
                        raise answer.error
                    if answer.closed:
                        await reply.drain(self._upstream.settings.drain_seconds)
                        return
        finally:
            self._slots.give_back()
        raise UpstreamIncomplete("llama.cpp ended without its last frame")


def _to_grammar(schema: dict[str, Any]) -> str:
    """llama.cpp's own translation; loaded for the first request that calls a function, since few do."""
    binding: Any = importlib.import_module("xllamacpp")
    return binding.json_schema_to_grammar(schema)
