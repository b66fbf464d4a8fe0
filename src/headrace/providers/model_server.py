"""One model server, in whatever protocol it speaks: a request goes out, its stream comes in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio.lowlevel
import msgspec

from headrace.bodies import LongBody
from headrace.codecs import DEFAULT_MAX_BYTES, LineTooLong
from headrace.codecs.sse import SSEDecoder
from headrace.config import Model
from headrace.dialects import DIALECTS
from headrace.dialects.base import Decoder, unsupported
from headrace.errors import HeadraceError, UpstreamIncomplete, UpstreamProtocol
from headrace.events import Chunk
from headrace.messages import Request
from headrace.providers.base import Take
from headrace.providers.http import EVENT_STREAM, JSON, HttpSettings, Reply, Upstream
from headrace.providers.redaction import Redactor

_STEP_BYTES = 16 * 1024
"""Of a request that is written in one go."""
# Where the model server is another Headrace: a stop here must reach the model there, not start its grace time.
_LEAVING = ("headrace-on-disconnect", "cancel")


class Write(Protocol):
    """Makes the body of a request in one protocol; a request of the same shape goes on as it came.

    Raises:
        BadRequest: the request asks for what the protocol has no words for.
    """

    def __call__(self, request: Request, model: str, *, stream: bool) -> bytes:
        """The body."""
        ...


class WriteLong(Protocol):
    """The same for a long request, in pieces that are made one at a time."""

    def __call__(self, request: Request, body: LongBody, model: str, *, stream: bool) -> Iterator[bytes]:
        """The body."""
        ...


class Wire(msgspec.Struct, frozen=True):
    """One protocol that model servers speak."""

    dialect: str
    """The shape of its requests and frames."""
    path: str
    """What is added to the base address."""
    write: Write
    write_long: WriteLong
    decoder: Callable[[str, str], Decoder]
    """Takes the provider's name and the model's."""
    chunks_of: Callable[[bytes, Any], list[Chunk]]
    """An answer that is not streamed, as the chunks of a stream, with the help of a fresh decoder."""
    marker: str
    """What its streams end with, in words."""
    credential: Callable[[str], tuple[str, str]]
    """The header that carries an API key."""
    headers: tuple[tuple[str, str], ...] = ()
    """What every request has, unless it is configured."""
    goes_on: bool = True
    """Whether it has a way to go on with an answer that has begun (`Request.continues`)."""


class ModelServer:
    """One configured model at one model server."""

    def __init__(
        self,
        wire: Wire,
        model: Model,
        max_line_bytes: int = DEFAULT_MAX_BYTES,
        settings: HttpSettings | None = None,
    ) -> None:
        """`max_line_bytes` bounds one frame, and the whole answer of a server that cannot stream."""
        self.name = model.provider
        self._wire = wire
        self._force = model.stream == "force"
        self._max_line = max_line_bytes
        self._redactor = Redactor(value for _, value in _secrets(wire, model))
        self._upstream = Upstream(settings or settings_of(wire, model), self._redactor)

    async def start(self) -> None:
        """Open a connection ahead: see `Upstream.start`."""
        await self._upstream.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    def check(self, request: Request) -> None:
        """Refuse what this protocol has no words for: see `Provider.check`."""
        if request.continues and not self._wire.goes_on:
            raise unsupported("messages", f"A model server that speaks {self._wire.dialect} begins each answer anew.")
        if request.dialect == self._wire.dialect:
            return
        for name in DIALECTS[request.dialect].unsaid(request):
            raise unsupported(name, f"A model server that speaks {self._wire.dialect} cannot be told of it.")
        if isinstance(request.body, LongBody):  # its messages are judged when they are written
            request = msgspec.structs.replace(request, messages=(), body=b"")
        self._wire.write(request, request.model, stream=True)

    async def ask(self, wire: Wire, request: Request, model: str) -> bytes:
        """The whole answer to another question about `request`: `wire` has its path, and what writes it.

        Raises:
            HeadraceError: as `Upstream.post`.
            UpstreamError: the answer broke off, or is over the limit.
        """
        body = await _written(wire, request, model, stream=False)
        own = request.headers if request.dialect == wire.dialect else ()
        async with self._upstream.post(wire.path, body, JSON, dict(own)) as reply:
            return await reply.read_all(self._max_line)

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """Ask, and yield one list per socket read, or several of a long one: see `Provider.stream`.

        Nothing is yielded after the `StepEnd` of the terminal marker. The generator then takes a second at most to
        read the end of the body, which many servers send on its own, so that the connection can be used again.

        Raises:
            HeadraceError: as `Upstream.post` before the stream.
            UpstreamError: in the stream, what the server said; `UpstreamIncomplete` without the terminal marker.
        """
        decoder = self._wire.decoder(self.name, model)
        async with self._asked(request, await self._body(request, model)) as reply:
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
        raise self._incomplete()

    async def push(self, request: Request, model: str, take: Take) -> None:
        """The same, handed on as it arrives: see `Pushing.push`."""
        decoder = self._wire.decoder(self.name, model)
        async with self._asked(request, await self._body(request, model)) as reply:
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
        raise self._incomplete()

    async def _body(self, request: Request, model: str) -> bytes | list[bytes]:
        """Always asks for a stream, whatever the caller wants, unless the server cannot (P12)."""
        return await _written(self._wire, request, model, stream=not self._force)

    def _asked(self, request: Request, body: bytes | list[bytes]) -> AbstractAsyncContextManager[Reply]:
        own = request.headers if request.dialect == self._wire.dialect else ()
        return self._upstream.post(self._wire.path, body, JSON if self._force else EVENT_STREAM, dict(own))

    def _frames(self) -> SSEDecoder:
        return SSEDecoder(max_line_bytes=self._max_line, max_event_bytes=self._max_line)

    def _decode(self, data: bytes, frames: SSEDecoder, decoder: Decoder) -> tuple[list[Chunk], HeadraceError | None]:
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

    def _whole(self, answer: bytes, decoder: Decoder) -> list[Chunk]:
        try:
            return self._wire.chunks_of(answer, decoder)
        except HeadraceError as problem:
            raise self._redactor.error(problem) from problem.__cause__

    def _incomplete(self) -> UpstreamIncomplete:
        text = f"The model server closed the stream without {self._wire.marker}, its terminal marker."
        return UpstreamIncomplete(text)


async def _ended(pending: Coroutine[Any, Any, None] | None, error: HeadraceError | None) -> None:
    """What the last batch left to do, then the error that came after it."""
    if pending is not None:
        await pending
    if error is not None:
        raise error


async def _written(wire: Wire, request: Request, model: str, *, stream: bool) -> bytes | list[bytes]:
    """What is sent; a long one is made in steps, between which others run."""
    if not isinstance(request.body, LongBody):
        return wire.write(request, model, stream=stream)
    pieces: list[bytes] = []
    step: list[bytes] = []
    size = 0
    for piece in wire.write_long(request, request.body, model, stream=stream):
        step.append(piece)
        size += len(piece)
        if size >= _STEP_BYTES or not piece:
            pieces.append(b"".join(step))  # of a message there are several: sending each on its own takes as long
            step.clear()
            size = 0
            await anyio.lowlevel.checkpoint()
    return [*pieces, *step]


def settings_of(wire: Wire, model: Model, *, log_content: bool = False) -> HttpSettings:
    """The HTTP side of a configured model; `log_content` as in the configuration."""
    headers = _secrets(wire, model)
    given = {name.lower() for name, _ in headers}
    headers += tuple((name, value) for name, value in (*wire.headers, _LEAVING) if name.lower() not in given)
    return HttpSettings(
        base_url=model.base_url, headers=headers, connect_timeout=model.connect_timeout, log_content=log_content
    )


def _secrets(wire: Wire, model: Model) -> tuple[tuple[str, str], ...]:
    """The configured headers, the key's among them."""
    headers = tuple((name, value.reveal()) for name, value in model.headers)
    if model.api_key is None:
        return headers
    return (wire.credential(model.api_key.reveal()), *headers)
