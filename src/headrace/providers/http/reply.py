"""An answer whose body is arriving: read by whoever waits for it, or handed on in the turn in which it arrives."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from headrace.codecs.http_response import ProtocolError, Response
from headrace.errors import HeadraceError, UpstreamIncomplete, UpstreamProtocol

Consume = Callable[[bytes], Coroutine[Any, Any, None] | None]
"""Takes what one read brought; gives back what has to be waited for before the next, if there is anything."""

# Bytes that are kept for a reader that does something else; then the server has to wait. aiohttp and uvicorn keep 64
# KiB, too little for a read of the largest size.
_MOST_KEPT = 256 * 1024
# What is read or consumed in one go: about 80 frames, which with their way to the readers take 1 ms. One step of
# decompression gives no more either: a bomb meets the limits of frames before it fills the memory.
_AT_ONCE = 16 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Line(Protocol):
    """The connection that an answer comes on."""

    def pause(self) -> None:
        """Let the server wait."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...


class Reply:
    """One answer. `take` and `lost` are for its connection, everything else for its reader, of whom there is one."""

    __slots__ = (
        "__weakref__",
        "_arrived",
        "_broken",
        "_consume",
        "_inflate",
        "_kept",
        "_line",
        "_pending",
        "_response",
        "_waiter",
    )

    def __init__(self, line: Line, *, bodiless: bool = False) -> None:
        """`bodiless`: see `Response`."""
        self._line = line
        self._response = Response(bodiless=bodiless)
        self._inflate: _Inflate | None = None
        self._arrived: list[bytes] = []
        self._kept = 0
        self._broken: Exception | None = None
        self._consume: Consume | None = None
        self._pending: Coroutine[Any, Any, None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def status(self) -> int:
        """The HTTP status; 0 before the head has arrived."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in lower case."""
        return self._response.headers

    def forget_head(self) -> None:
        """Let go of the headers: half a kilobyte, and the answer may last for minutes."""
        self._response.headers = {}

    @property
    def complete(self) -> bool:
        """Whether the whole answer has arrived, though perhaps nobody has read it."""
        return self._response.complete

    @property
    def reusable(self) -> bool:
        """Whether its connection can take another request."""
        return self._response.complete and self._response.reusable and self._broken is None

    # The connection's side

    def take(self, data: bytes) -> None:
        """What a read of the socket brought. Never raises: what goes wrong is told to the reader."""
        response = self._response
        try:
            if not response.status:
                self._begin(data)
                return
            body = response.feed(data)
            consume = self._consume
            if consume is None or self._inflate is not None or len(body) > _AT_ONCE:
                self._keep(body)
            elif body:
                try:
                    pending = consume(body)
                except Exception as problem:
                    raise _Refused(problem) from problem
                if pending is not None:
                    self._pending = pending
                    self._stop()
        except Exception as problem:  # noqa: BLE001 - told to the reader, who raises it
            self._broken = problem
            self._stop()
        if response.complete:
            self._wake()

    def lost(self, problem: Exception | None) -> None:
        """The connection is gone; without an error the server has closed it."""
        if not self._response.finish() and self._broken is None:
            self._broken = problem or ConnectionResetError("closed")
        self._wake()

    def _begin(self, data: bytes) -> None:
        """The head, or a part of it, and what follows it."""
        body = self._response.feed(data)
        if self._response.status:
            self._inflate = _inflate_for(self._response.headers)
        self._keep(body)

    def _keep(self, body: bytes) -> None:
        """Leave it to the reader, who is woken up."""
        self._consume = None
        if body:
            self._arrived.append(body)
            self._kept += len(body)
        if self._kept > _MOST_KEPT:
            self._line.pause()
        self._wake()

    def _stop(self) -> None:
        """Let the reader deal with it before any more is read."""
        self._consume = None
        self._line.pause()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The reader's side

    async def head(self) -> None:
        """Return once status and headers are there.

        Raises:
            ProtocolError: what came is not HTTP.
            OSError: the connection was lost before.
        """
        while not self.status:
            if self._broken is not None:
                raise self._broken
            await self._news()

    async def read(self) -> bytes:
        """The beginning of what has arrived, at least one byte; empty at the end.

        Raises:
            UpstreamIncomplete: the body was cut off. What had arrived is returned first.
            UpstreamProtocol: the body is not HTTP.
        """
        while True:
            while not self._arrived:
                if self._broken is not None:
                    raise self._failure(self._broken)
                if self.complete:
                    return b""
                self._line.resume()
                await self._news()
            await anyio.lowlevel.checkpoint()  # much may have arrived, and others have their turn in between
            data = self._slice()
            if data:  # of compressed bytes, some give nothing yet
                return data

    async def feed(self, consume: Consume) -> bool:
        """Hand every read to `consume` in the turn in which it arrives, until it gives something to wait for.

        The server is not read from until that is done.

        Returns:
            Whether there may be more; False at the end of the body.

        Raises:
            UpstreamIncomplete: the body was cut off.
            UpstreamProtocol: it is not HTTP.
            Exception: what `consume` raised.
        """
        if self._arrived:
            data = self._slice()
            pending = consume(data) if data else None
            if pending is not None:
                await pending
            elif self._arrived:
                await anyio.lowlevel.checkpoint()
            return True
        if self._broken is not None:
            raise self._failure(self._broken)
        if self.complete:
            return False
        self._consume = consume
        self._line.resume()
        try:
            await self._news()
            pending, self._pending = self._pending, None
            if pending is not None:
                await pending
        finally:
            self._consume = None
            if self._pending is not None:  # cancelled in the turn in which it came
                self._pending.close()
                self._pending = None
        return True

    def _slice(self) -> bytes:
        """The beginning of what has arrived; empty where that is compressed and gives nothing yet."""
        if self._inflate is not None:
            return self._inflated(self._inflate)
        data = self._taken()
        if len(data) > _AT_ONCE:
            self._put_back(data[_AT_ONCE:])
        return data[:_AT_ONCE]

    def _inflated(self, inflate: _Inflate) -> bytes:
        try:
            data, rest = inflate.step(self._taken(), _AT_ONCE)
        except UpstreamProtocol as problem:
            self._broken = problem
            raise
        if rest:
            self._put_back(rest)
        return data

    def _taken(self) -> bytes:
        arrived = self._arrived
        data = arrived[0] if len(arrived) == 1 else b"".join(arrived)
        arrived.clear()
        self._kept = 0
        return data

    def _put_back(self, data: bytes) -> None:
        self._arrived.append(data)
        self._kept = len(data)

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def read_all(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            UpstreamProtocol: it is longer than `limit`.
            UpstreamIncomplete: as `read`.
        """
        body = bytearray()
        while data := await self.read():
            body += data
            if len(body) > limit:
                raise UpstreamProtocol(f"The model server's answer is longer than {limit} bytes.")
        return bytes(body)

    async def drain(self, seconds: float) -> None:
        """Read the rest, which nobody needs, so that the connection can be used again. Failures change nothing."""
        with anyio.move_on_after(seconds):
            try:
                while await self.read():
                    pass
            except HeadraceError:
                return

    def _failure(self, problem: Exception) -> Exception:
        match problem:
            case _Refused(args=(refusal,)):  # whatever it is: an OSError of the consumer's is none of the connection's
                return refusal
            case ProtocolError():
                error: HeadraceError = UpstreamProtocol("The model server's answer is not valid HTTP.")
            case OSError():
                text = "The model server closed the connection in the middle of its answer."
                error = UpstreamIncomplete(text)
            case _:
                return problem
        error.__cause__ = problem
        return error


class _Refused(Exception):
    """Around what `consume` raised."""


class _Inflate:
    """Decompresses what a server compressed though it was asked not to (P16)."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    def step(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """At most so many bytes of what it gives, and what of it is still to be given. Raises `UpstreamProtocol`."""
        if self._stream.eof:  # what follows the end would be kept for ever
            return b"", b""
        try:
            return self._stream.decompress(data, most), self._stream.unconsumed_tail
        except zlib.error as problem:
            raise UpstreamProtocol("The model server's answer cannot be decompressed.") from problem


def _inflate_for(headers: Mapping[str, str]) -> _Inflate | None:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _Inflate()
    raise UpstreamProtocol("The model server's answer is compressed in a way that was not asked for.")
