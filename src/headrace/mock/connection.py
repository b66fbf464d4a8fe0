"""One client connection: HTTP/1.1 in, steps out, without a task and without a coroutine."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

from headrace.mock.pacing import Wheel
from headrace.mock.responder import HttpRequest, Reply
from headrace.mock.stats import Stats
from headrace.mock.steps import Cut, End, Frame, Hang, Head, Pause, Step, Steps

# One write and one chunk of this size are cheap; more would only make other streams wait.
_BATCH: Final = 65536
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Shared:
    """What all connections of a server have in common."""

    loop: asyncio.AbstractEventLoop
    wheel: Wheel
    stats: Stats
    reply: Callable[[HttpRequest], Reply]
    refuses: Callable[[int], bool]
    open: set[Connection] = field(default_factory=set["Connection"])


class Connection(asyncio.Protocol):
    """Takes requests one after the other, and does for each the steps that it is given."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = shared.loop
        self._stats = shared.stats
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[HttpRequest] = deque()
        self._steps: Steps | None = None
        self._armed = False
        self.blocked = False
        """Whether the socket takes no more."""
        self._resets = False
        self._begin_request()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._shared.open.add(self)
        self._stats.connections += 1
        self._stats.connections_now += 1
        if self._shared.refuses(self._stats.connections):
            self._stats.faults["refuse"] += 1
            self._stats.by_fault["refuse"] += 1
            self._reset()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what runs; an answer that is not over was left by the client."""
        self._shared.open.discard(self)
        self._stats.connections_now -= 1
        self._over(client=True)
        self._requests.clear()

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer of HTTP/2: the request is whole and gets its answer without
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()

    def pause_writing(self) -> None:
        """The client does not read, or less than is written."""
        self.blocked = True

    def resume_writing(self) -> None:
        """Go on."""
        self.blocked = False
        if self._resets:
            self._reset()
        elif not self._armed:
            self._pump()

    def abort(self) -> None:
        """Close at once; what is not written yet is lost."""
        self._transport.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin_request()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, whole."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A request is whole; it waits until those before it are answered."""
        self._requests.append(
            HttpRequest(
                method=self._parser.get_method().decode("latin-1"),
                path=self._url.decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._body),
                chunked=self._parser.get_http_version() != "1.0",
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        if self._steps is None:
            self._next()

    def _begin_request(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def _next(self) -> None:
        if not self._requests or self._transport.is_closing():
            return
        request = self._requests.popleft()
        reply = self._shared.reply(request)
        self._counts = reply.counts
        if reply.counts:
            self._stats.began()
        self._closes = False
        self._chunked = False
        self._head = b""
        self._tokens = 0
        self._over_fault = ""
        self._due = self._loop.time()
        self._steps = reply.steps
        self._pump()

    def _over(self, *, fault: str = "", client: bool = False) -> None:
        """The answer is over, in one of the ways that the statistics know; once."""
        if self._steps is None:
            return
        self._steps = None
        if self._counts:
            self._stats.ended(self._tokens, fault=fault or self._over_fault, client=client and not self._over_fault)

    def _fire(self) -> None:
        self._armed = False
        self._pump()

    def _pump(self) -> None:
        """Write until a step says to wait or to stop, or until the socket is full."""
        if self._steps is None or self.blocked:
            return
        match self._write(self._steps):
            case Pause():
                self._armed = True
                self._shared.wheel.at(self._due, self._fire)
            case Cut(fault=fault, reset=reset):
                self._over(fault=fault)
                self._cut(reset)
            case Hang(fault=fault, over=over):
                # Nothing more is asked of the steps until `connection_lost`.
                self._over_fault = fault if over else ""
                self._armed = True
            case End(fault=fault):
                self._end(fault)
            case _:  # a full batch: other connections first
                self._armed = True
                self._loop.call_soon(self._fire)

    def _write(self, steps: Steps) -> Step:
        """Write what is due and return the step that stopped it; a frame means that the batch is full."""
        out: list[bytes] = []
        size = 0
        stop: Step = End()
        for stop in steps:
            if isinstance(stop, Frame):
                out.append(stop.data)
                size += len(stop.data)
                self._tokens += stop.tokens
                if size >= _BATCH:
                    break
            elif isinstance(stop, Head):
                self._head, self._chunked, self._closes = stop.data, stop.chunked, stop.closes
            elif not isinstance(stop, Pause) or self._waits(stop):
                break
        self._send(out, size, last=isinstance(stop, End))
        return stop

    def _waits(self, pause: Pause) -> bool:
        now = self._loop.time()
        self._due = (max(self._due, now) if pause.always else self._due) + pause.seconds
        return pause.always or self._due > now

    def _send(self, out: list[bytes], size: int, *, last: bool) -> None:
        if size and self._chunked:
            out = [b"%x\r\n" % size, *out, b"\r\n"]
        if last and self._chunked:
            out.append(b"0\r\n\r\n")
        data = self._head + b"".join(out)
        self._head = b""
        if data:
            self._transport.write(data)

    def _end(self, fault: str) -> None:
        self._over(fault=fault)
        if self._closes:
            self._transport.close()
        else:
            self._next()

    def _cut(self, reset: bool) -> None:
        if not reset:
            self._transport.close()
            return
        # What was written must go out first: a reset forgets it.
        self._transport.set_write_buffer_limits(0)
        self._resets = True
        if self._transport.get_write_buffer_size() == 0:
            self._reset()

    def _reset(self) -> None:
        self._resets = False
        found: socket.socket | None = self._transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
