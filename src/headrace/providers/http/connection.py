"""One socket to a model server. It carries one exchange after another, and can be cut in the middle of any.

Who leaves a request that nobody wants any more must not just close: a transport that closes first writes what is still
to be written, and a server that does not read its request would never notice. So the socket is aborted, and whoever
leaves waits until it is closed (P7).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import cast

import anyio
import anyio.lowlevel

from headrace.providers.http.reply import Reply

# What is given to the transport at a time: a body of 30 MB is not copied whole, and others run in between.
_PIECE = 64 * 1024


class Connection(asyncio.Protocol):
    """A socket, and the answer that comes on it now."""

    __slots__ = ("_closed", "_on_lost", "_paused", "_reply", "_transport", "_writable", "asked", "idle_since")

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        """`on_lost` is called once, when the socket is closed, by whichever side."""
        loop = asyncio.get_running_loop()
        self.asked = 0
        """Requests that it has carried."""
        self.idle_since = 0.0
        self._on_lost = on_lost
        self._closed: asyncio.Future[None] = loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self._reply: Reply | None = None
        self._paused = False

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a socket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        found: socket.socket | None = transport.get_extra_info("socket")
        if found is not None:  # a peer that vanished without a word is noticed at some time
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Pass it on; an idle connection has nothing to say."""
        if self._reply is None:
            self._transport.abort()
        else:
            self._reply.take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._on_lost(self)
        if not self._closed.done():
            self._closed.set_result(None)
        self.resume_writing()
        if self._reply is not None:
            self._reply.lost(exc)

    def pause_writing(self) -> None:
        """The server does not read as fast as it is written to."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It does again, or never will."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # The answer's side

    def pause(self) -> None:
        """See `Line.pause`."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """See `Line.resume`."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    # The asking side

    @property
    def usable(self) -> bool:
        """Whether it can still be written to, as far as is known here."""
        return not self._transport.is_closing()

    async def ask(self, head: bytes, body: Sequence[bytes], *, bodiless: bool = False) -> Reply:
        """Send a request and return its answer once the answer's head is there.

        A server that answers before it has read everything gets no more of the body.

        Raises:
            ProtocolError: what came is not HTTP.
            OSError: the connection was lost.
        """
        self.asked += 1
        self._reply = reply = Reply(self, bodiless=bodiless)
        await self._send(head, body, reply)
        await reply.head()
        return reply

    async def _send(self, head: bytes, body: Sequence[bytes], reply: Reply) -> None:
        if sum(map(len, body)) <= _PIECE:
            self._transport.write(b"".join((head, *body)))
            return
        gathered = bytearray(head)
        for part in body:
            for begin in range(0, len(part), _PIECE):
                gathered += part[begin : begin + _PIECE]
                if len(gathered) < _PIECE:
                    continue
                if reply.status or self._transport.is_closing():
                    return
                self._transport.write(bytes(gathered))
                gathered.clear()
                if self._writable is not None:
                    await self._writable
                else:  # a socket that takes everything suspends nobody
                    await anyio.lowlevel.checkpoint()
        self._transport.write(bytes(gathered))

    def release(self) -> bool:
        """The answer is not wanted any more. Whether another request can follow it."""
        reply, self._reply = self._reply, None
        self.resume()
        return reply is not None and reply.reusable and self._writable is None and self.usable

    async def cut(self) -> None:
        """Close the socket, with unsent bytes dropped, and return once it is closed. Not to be interrupted."""
        self.abort()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._closed])

    def abort(self) -> None:
        """The same without waiting."""
        self._transport.abort()
