"""Model servers that speak OpenAI's chat completions, which is nearly all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio.lowlevel

from headrace.bodies import LongBody
from headrace.codecs import DEFAULT_MAX_BYTES, LineTooLong
from headrace.codecs.sse import SSEDecoder
from headrace.config import Model
from headrace.dialects.openai_chat import ChatDecoder, chunks_of, write_long_request, write_request
from headrace.errors import HeadraceError, UpstreamIncomplete, UpstreamProtocol
from headrace.events import Chunk
from headrace.messages import Request
from headrace.providers.base import Take
from headrace.providers.http import EVENT_STREAM, JSON, HttpSettings, Reply, Upstream
from headrace.providers.redaction import Redactor

_PATH = "/chat/completions"
_STEP_BYTES = 16 * 1024
"""Of a request that is written in one go."""
# Where the model server is another Headrace: a stop here must reach the model there, not start its grace time.
_LEAVING = ("headrace-on-disconnect", "cancel")


class OpenAIProvider:
    """One configured model at one model server."""

    def __init__(
        self, model: Model, max_line_bytes: int = DEFAULT_MAX_BYTES, settings: HttpSettings | None = None
    ) -> None:
        """`max_line_bytes` bounds one frame, and the whole answer of a server that cannot stream."""
        self.name = model.provider
        self._force = model.stream == "force"
        self._max_line = max_line_bytes
        headers = _headers(model)
        self._redactor = Redactor(value for _, value in headers)
        self._upstream = Upstream(settings or settings_of(model), self._redactor)

    async def start(self) -> None:
        """Open a connection ahead: see `Upstream.start`."""
        await self._upstream.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """Ask, and yield one list per socket read, or several of a long one: see `Provider.stream`.

        Nothing is yielded after the `StepEnd` of the terminal marker. The generator then takes a second at most to
        read the end of the body, which many servers send on its own, so that the connection can be used again.

        Raises:
            HeadraceError: as `Upstream.post` before the stream.
            UpstreamError: in the stream, what the server said; `UpstreamIncomplete` without the terminal marker.
        """
        decoder = ChatDecoder(self.name, model)
        async with self._asked(await self._body(request, model)) as reply:
            if self._force:
                yield self._whole(await reply.read_all(self._max_line), decoder)
                return
            frames = self._frames()
            while data := await reply.read():
                chunks, error = self._decode(data, frames, decoder)
                if chunks:
                    yield chunks
                if error is not None:
                    raise error
                if decoder.closed:
                    await reply.drain(self._upstream.settings.drain_seconds)
                    return
        raise _incomplete()

    async def push(self, request: Request, model: str, take: Take) -> None:
        """The same, handed on as it arrives: see `Pushing.push`."""
        decoder = ChatDecoder(self.name, model)
        async with self._asked(await self._body(request, model)) as reply:
            if self._force:
                pending = take(self._whole(await reply.read_all(self._max_line), decoder))
                if pending is not None:
                    await pending
                return
            frames = self._frames()

            def consume(data: bytes) -> Coroutine[Any, Any, None] | None:
                chunks, error = self._decode(data, frames, decoder)
                pending = take(chunks) if chunks else None
                if error is not None or decoder.closed:
                    return _ended(pending, error)
                return pending

            while await reply.feed(consume):
                if decoder.closed:
                    await reply.drain(self._upstream.settings.drain_seconds)
                    return
        raise _incomplete()

    async def _body(self, request: Request, model: str) -> bytes | list[bytes]:
        """Always asks for a stream, whatever the caller wants, unless the server cannot (P12)."""
        return await _written(request, model, stream=not self._force)

    def _asked(self, body: bytes | list[bytes]) -> AbstractAsyncContextManager[Reply]:
        return self._upstream.post(_PATH, body, JSON if self._force else EVENT_STREAM)

    def _frames(self) -> SSEDecoder:
        return SSEDecoder(max_line_bytes=self._max_line, max_event_bytes=self._max_line)

    def _decode(
        self, data: bytes, frames: SSEDecoder, decoder: ChatDecoder
    ) -> tuple[list[Chunk], HeadraceError | None]:
        """The chunks of one read, and the error that came after them: they are valid all the same."""
        chunks: list[Chunk] = []
        try:
            for frame in frames.feed(data):
                chunk = decoder.feed(frame.data)
                if chunk is not None:
                    chunks.append(chunk)
                if decoder.closed:
                    return chunks, None
            if frames.failed:  # which the next call would tell, and the server may never send again
                frames.feed(b"")
        except LineTooLong as problem:
            text = f"The model server sent a frame over the limit (max_upstream_line_bytes): {problem}."
            return chunks, UpstreamProtocol(text)
        except HeadraceError as problem:
            return chunks, self._redactor.error(problem)
        return chunks, None

    def _whole(self, answer: bytes, decoder: ChatDecoder) -> list[Chunk]:
        try:
            return chunks_of(answer, decoder)
        except HeadraceError as problem:
            raise self._redactor.error(problem) from problem.__cause__


async def _ended(pending: Coroutine[Any, Any, None] | None, error: HeadraceError | None) -> None:
    """What the last batch left to do, then the error that came after it."""
    if pending is not None:
        await pending
    if error is not None:
        raise error


def _incomplete() -> UpstreamIncomplete:
    return UpstreamIncomplete("The model server closed the stream without [DONE], its terminal marker.")


async def _written(request: Request, model: str, *, stream: bool) -> bytes | list[bytes]:
    """What is sent; a long one is made in steps, between which others run."""
    if not isinstance(request.body, LongBody):
        return write_request(request, model, stream=stream)
    pieces: list[bytes] = []
    size = 0
    for piece in write_long_request(request, request.body, model, stream=stream):
        pieces.append(piece)
        size += len(piece)
        if size >= _STEP_BYTES:
            size = 0
            await anyio.lowlevel.checkpoint()
    return pieces


def settings_of(model: Model, *, log_content: bool = False) -> HttpSettings:
    """The HTTP side of a configured model; `log_content` as in the configuration."""
    headers = _headers(model)
    if not any(name.lower() == _LEAVING[0] for name, _ in headers):
        headers = (*headers, _LEAVING)
    return HttpSettings(
        base_url=model.base_url, headers=headers, connect_timeout=model.connect_timeout, log_content=log_content
    )


def _headers(model: Model) -> tuple[tuple[str, str], ...]:
    headers = tuple((name, value.reveal()) for name, value in model.headers)
    if model.api_key is None:
        return headers
    return (("Authorization", f"Bearer {model.api_key.reveal()}"), *headers)
