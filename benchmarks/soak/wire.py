"""One HTTP request on a connection of its own: cheap enough for thousands, and it can be cut at any byte or stalled."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import httptools

GUARD_S: Final = 180.0
"""Longer than any stream may live: an exchange that is not over by then hangs."""

_ESTABLISHED: Final = b"\1"
_RESET: Final = struct.pack("ii", 1, 0)
# A connection of small segments has small buffers, also on the loopback: 0.2 MB are then enough to block a writer,
# which else needs four. The window's size is the smallest that Linux gives.
_SMALL_SEGMENT: Final = 536
_SMALL_WINDOW: Final = 4096


class Request(NamedTuple):
    """What is sent."""

    method: str
    path: str
    body: Any = None
    """A JSON value, if any."""
    headers: Mapping[str, str] = {}

    def encoded(self, host: str) -> bytes:
        """The bytes; the connection ends with the answer."""
        fields = {"host": host, "connection": "close", **self.headers}
        content = b""
        if self.body is not None:
            content = json.dumps(self.body).encode()
            fields |= {"content-type": "application/json", "content-length": str(len(content))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + content


class Manner(NamedTuple):
    """How an answer is read; positions are bytes after the head, the framing of the chunks included."""

    cut_at: int | None = None
    """Where the reader leaves."""
    reset: bool = False
    """Whether it leaves with a reset."""
    stall_at: int | None = None
    """Where it stops reading."""
    stall_s: float | None = 0.0
    """For how long; None: until it is told to go on."""


WHOLE: Final = Manner()


class Exchange(asyncio.Protocol):
    """The request's answer, decoded as it comes; nobody is woken before it is over."""

    def __init__(self, manner: Manner) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.clean = False
        """Whether the body ended as HTTP says that a complete one ends."""
        self.cut = False
        """Whether this side left."""
        self.stalled = False
        """Whether this side stopped reading for a while."""
        loop = asyncio.get_running_loop()
        self.headed: asyncio.Future[None] = loop.create_future()
        """Done with the head, or with the end of an exchange that has none."""
        self.ended: asyncio.Future[None] = loop.create_future()
        self._manner = manner
        self._stall_at = manner.stall_at
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._head: bytearray | None = bytearray()
        self._wire = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes) -> None:
        """Send the request."""
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Decode up to the place where the reader leaves; what comes after it was never received."""
        if self.cut:
            return
        if self._head is not None:
            data = self._past_head(self._head, data)
        limit = self._manner.cut_at
        self.cut = limit is not None and self._wire + len(data) >= limit
        if self.cut:
            data = data[: cast("int", limit) - self._wire]
        self._wire += len(data)
        if data:
            self._parser.feed_data(data)
        if self.cut:
            self.leave()
        elif self._stall_at is not None and self._wire >= self._stall_at:
            self._stall()

    def _past_head(self, head: bytearray, data: bytes) -> bytes:
        head += data
        end = head.find(b"\r\n\r\n") + 4
        if end < 4:
            return b""
        self._head = None
        self._parser.feed_data(bytes(head[:end]))
        return bytes(head[end:])

    def _stall(self) -> None:
        self.stalled = True
        self._stall_at = None
        self._transport.pause_reading()
        if self._manner.stall_s is not None:
            self._loop.call_later(self._manner.stall_s, self.go_on)

    def go_on(self) -> None:
        """Read, and do not stop any more."""
        self._stall_at = None
        if not self.ended.done() and not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def port(self) -> int:
        """This side's."""
        return self._transport.get_extra_info("sockname")[1]

    @property
    def is_open(self) -> bool:
        """Whether the connection still is one, whatever is read of it: after a reset its port is soon another's."""
        found = cast("socket.socket", self._transport.get_extra_info("socket"))
        option = getattr(socket, "TCP_INFO", None)  # Linux
        return option is not None and found.getsockopt(socket.IPPROTO_TCP, option, 1) == _ESTABLISHED

    def leave(self) -> None:
        """Vanish: a reset, or an end of file."""
        if self._manner.reset:
            found = cast("socket.socket", self._transport.get_extra_info("socket"))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The exchange is over, in whatever way."""
        for future in (self.headed, self.ended):
            if not future.done():
                future.set_result(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.status = self._parser.get_status_code()
        if not self.headed.done():
            self.headed.set_result(None)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """The body is whole."""
        self.clean = True

    def json(self) -> Any:
        """The body as a value."""
        return json.loads(self.body)


async def begin(address: tuple[str, int], request: Request, manner: Manner = WHOLE) -> Exchange:
    """Send a request; the exchange goes on by itself."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    if manner.stall_at is not None:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALL_SEGMENT)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(made, address)
        _, exchange = await loop.create_connection(lambda: Exchange(manner), sock=made)
    except BaseException:
        made.close()
        raise
    exchange.send(request.encoded(f"{address[0]}:{address[1]}"))
    return exchange


async def ask(address: tuple[str, int], request: Request, manner: Manner = WHOLE) -> Exchange:
    """Send a request and wait until the exchange is over.

    Raises:
        TimeoutError: it hangs.
    """
    exchange = await begin(address, request, manner)
    await over(exchange)
    return exchange


async def over(exchange: Exchange) -> None:
    """Return when the exchange is over. Raises `TimeoutError` when it hangs."""
    async with asyncio.timeout(GUARD_S):
        await asyncio.shield(exchange.ended)
