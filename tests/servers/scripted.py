"""A model server that does exactly what a test says, byte by byte, on loopback and in the test's own event loop.

    async with ScriptedServer() as server:
        server.script(head(), chunk(frame({...})), Wait(gate), chunk(DONE), END)
        ... ask server.url ...
        assert server.requests[0].json()["model"] == "m"
        assert server.log == ["request", "answered"]

One script per POST, in order; when none is left, the last one is used again (or `server.choose` decides). A HEAD, which
providers send to open a connection ahead, gets 404 and uses no script. `server.log` has, in the order in which they
happened: `request` (its body is complete), `answered` (its script ran to the end), `disconnected` (the client closed
the connection). A client that closes while a script waits ends the script.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import anyio


@dataclass
class Wait:
    """Go on when the event is set."""

    event: anyio.Event | asyncio.Event


@dataclass
class Reached:
    """Set the event: the script has come this far, and everything before it has left this process."""

    event: anyio.Event | asyncio.Event


@dataclass
class Abort:
    """Reset the connection."""


@dataclass
class Close:
    """Close the connection cleanly, whatever the answer's framing promised."""


@dataclass
class Disconnect:
    """Wait until the client has closed the connection."""


Step = bytes | Wait | Reached | Abort | Close | Disconnect
END = b"0\r\n\r\n"
"""The last chunk of a chunked body; the connection can be used again."""
DONE = b"data: [DONE]\n\n"


def head(status: int = 200, content_type: str | None = "text/event-stream", **headers: str) -> bytes:
    """Status line and headers; `retry_after="2"` becomes `retry-after: 2`. Chunked unless a length is given."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        fields["content-type"] = content_type
    if "content-length" not in fields and fields.get("connection") != "close":
        fields["transfer-encoding"] = "chunked"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode()


def whole(body: bytes, status: int = 200, content_type: str | None = "application/json", **headers: str) -> bytes:
    """A complete answer with its length."""
    return head(status, content_type, content_length=str(len(body)), **headers) + body


def chunk(*data: bytes) -> bytes:
    """One chunk of a chunked body."""
    joined = b"".join(data)
    return b"%x\r\n%s\r\n" % (len(joined), joined)


def frame(value: Mapping[str, Any]) -> bytes:
    """One SSE frame."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    """One chat completion chunk."""
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return frame(
        {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]}
    )


def chat(*texts: str) -> bytes:
    """The whole SSE text of an answer, `[DONE]` included; cut it where you like."""
    usage = {"prompt_tokens": 3, "completion_tokens": len(texts), "total_tokens": 3 + len(texts)}
    last = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": []}
    frames = [delta(role="assistant", content=""), *(delta(content=text) for text in texts), delta("stop")]
    return b"".join([*frames, frame({**last, "usage": usage}), DONE])


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name; of a repeated header the last."""
    body: bytes
    connection: int
    """Connections count from 0, in the order in which they were opened."""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedServer:
    """Listens while its context is open; leaving it closes every connection."""

    scripts: list[Sequence[Step]] = field(default_factory=list[Sequence[Step]])
    choose: Callable[[Request], Sequence[Step]] | None = None
    """Decides instead of the scripts in order."""
    requests: list[Request] = field(default_factory=list[Request])
    heads: list[Request] = field(default_factory=list[Request])
    log: list[str] = field(default_factory=list[str])
    connections: list[Connection] = field(default_factory=list["Connection"])
    reads_bodies: bool = True
    """False: a request is taken at the end of its head, and nothing more is read of its connection."""
    url: str = ""
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _playing: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _server: asyncio.Server | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def script(self, *steps: Step) -> None:
        """What to do for the next request that has no script yet."""
        self.scripts.append(steps)

    async def happened(self, event: str, times: int = 1) -> None:
        """Return once `log` has the event that often."""
        while self.log.count(event) < times:
            await self._changed.wait()

    def note(self, event: str) -> None:
        """Add to the log; tests do it too, to see what came before what."""
        self.log.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> ScriptedServer:
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *exception: Any) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.abort()
        for task in self._playing:
            task.cancel()
        for connection in self.connections:
            await connection.gone.wait()
        await self._tasks.__aexit__(None, None, None)

    def serve(self, connection: Connection, request: Request) -> None:
        """Called by a connection with each complete request."""
        if request.method == "HEAD":
            self.heads.append(request)
            connection.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            connection.next_request()
            return
        self.requests.append(request)
        self.note("request")
        # Not a task group of anyio: in a callback of the event loop it does not find the loop.
        self._playing.append(self._tasks.create_task(connection.play(self._steps(request))))

    def _steps(self, request: Request) -> Sequence[Step]:
        if self.choose is not None:
            return self.choose(request)
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


class Connection(asyncio.Protocol):
    """One client connection. Notes that the client left in the callback itself, so nothing comes in between."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._number = len(server.connections)
        self._buffer = b""
        self._busy = False
        self._closing = False
        self._drained = asyncio.Event()
        self._drained.set()
        self.left = asyncio.Event()
        """Set when the client has closed the connection."""
        self.gone = asyncio.Event()
        """Set when this side has closed it too."""
        server.connections.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._take()

    def eof_received(self) -> None:
        self._client_left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client_left()
        self._drained.set()
        self.gone.set()

    def pause_writing(self) -> None:
        self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        self._drained.set()

    @property
    def client_has_closed(self) -> bool:
        """Whether this very moment the operating system knows: no turn of the event loop is needed for it."""
        if self.left.is_set():
            return True
        found: socket.socket = self._transport.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(found.fileno())) as peer:
            try:
                return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

    def write(self, data: bytes) -> None:
        if not self.left.is_set():
            self._transport.write(data)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def next_request(self) -> None:
        self._busy = False
        self._take()

    def read_on(self) -> None:
        """Read again, where `reads_bodies` had stopped it; what is read counts in `unread_bytes`."""
        self._transport.resume_reading()

    @property
    def unread_bytes(self) -> int:
        """Bytes that came and are not part of a request."""
        return len(self._buffer)

    async def play(self, steps: Sequence[Step]) -> None:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await self.left.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            for step in steps:
                await self._do(step)
            tasks.cancel_scope.cancel()
            if not self.left.is_set():
                self._server.note("answered")
                self.next_request()

    async def _do(self, step: Step) -> None:
        match step:
            case bytes():
                self.write(step)
                await self._drained.wait()
            case Wait():
                await step.event.wait()
            case Reached():
                step.event.set()
            case Abort():
                linger = b"\x01\0\0\0\0\0\0\0"
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.abort()
            case Close():
                self._closing = True
                self._transport.close()
            case Disconnect():
                await self.left.wait()

    def _client_left(self) -> None:
        if not self._closing and not self.left.is_set():
            self._server.note("disconnected")
        self.left.set()

    def _take(self) -> None:
        """Hand a complete request to the server; the next one waits for its answer."""
        top, found, rest = self._buffer.partition(b"\r\n\r\n")
        if self._busy or not found:
            return
        lines = top.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if not self._server.reads_bodies:
            self._transport.pause_reading()
            length = min(length, len(rest))
        if len(rest) < length:
            return
        self._busy = True
        self._buffer = rest[length:]
        self._server.serve(self, Request(method, path, headers, rest[:length], self._number))
