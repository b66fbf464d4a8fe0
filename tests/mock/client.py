"""A client that sees every byte, in the event loop of the mock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

from headrace.mock import MockServer


@dataclass
class Reply:
    """What came; `reset` when the connection ended with a reset, `closed` when it ended at all."""

    wire: bytes
    closed: bool = False
    reset: bool = False

    @property
    def head(self) -> str:
        return self.wire.partition(b"\r\n\r\n")[0].decode()

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return {name: value for name, _, value in lines}

    @property
    def _parted(self) -> tuple[bytes, bool]:
        rest = self.wire.partition(b"\r\n\r\n")[2]
        if "content-length" in self.headers:
            return rest, len(rest) == int(self.headers["content-length"])
        if self.headers.get("transfer-encoding") != "chunked":
            return rest, False
        body = b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                return body, rest == b"\r\n"
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return body, False

    @property
    def body(self) -> bytes:
        return self._parted[0]

    @property
    def whole(self) -> bool:
        """Whether the body ended as HTTP says."""
        return self._parted[1]

    @property
    def frames(self) -> list[bytes]:
        """The payloads of the complete frames."""
        return [piece.rpartition(b"data: ")[2] for piece in self.body.split(b"\n\n")[:-1]]

    @property
    def events(self) -> list[Any]:
        """The frames as values; `[DONE]` is left out."""
        return [json.loads(frame) for frame in self.frames if frame != b"[DONE]"]

    @property
    def text(self) -> str:
        return text_of(self.frames)

    def json(self) -> Any:
        assert self.whole
        return json.loads(self.body)


def text_of(frames: list[bytes]) -> str:
    """The text that frames of any shape say."""
    return "".join(_said(json.loads(frame)) for frame in frames if frame.startswith(b"{") and frame.endswith(b"}"))


def _said(event: Any) -> str:
    match event:
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
            return text
        case {"type": "response.output_text.delta", "delta": text}:
            return text
        case {"choices": choices}:
            return "".join(choice["delta"].get("content") or "" for choice in choices)
        case _:
            return ""


def asking(shape: str, prompt: str = "hi", **fields: Any) -> dict[str, Any]:
    """The body and the path of a question in a shape, for `ask`."""
    if shape == "openai.responses":
        return {"body": {"model": "m", "input": prompt, "stream": True, **fields}, "path": "/v1/responses"}
    if shape == "anthropic.messages":
        return {"body": question(prompt, max_tokens=1000, **fields), "path": "/v1/messages"}
    return {"body": question(prompt, **fields)}


def question(prompt: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": True, **fields}


def raw_request(
    body: Any = None, method: str = "POST", path: str = "/v1/chat/completions", version: str = "1.1", **headers: str
) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "mock", "content-length": str(len(data)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + data


class Client:
    """One connection."""

    def __init__(self, server: MockServer) -> None:
        self._host, _, port = server.url.removeprefix("http://").rpartition(":")
        self._port = int(port)

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self._writer.transport.abort()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def pause(self) -> None:
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def more(self) -> bytes:
        """The next bytes."""
        return await self._reader.read(1 << 20)

    async def waiting(self) -> bytes:
        """What has come and was not read, after the event loop has had time to take it."""
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(0):
            return await self._reader.read(65536)
        return b""

    async def ask(self, until: Callable[[Reply], bool], request: bytes) -> Reply:
        """Send, and read until it holds or the connection ends."""
        reply = Reply(b"")
        self._writer.write(request)
        while not (reply.wire and until(reply)):
            try:
                data = await self._reader.read(65536)
            except ConnectionResetError:
                reply.reset, data = True, b""
            reply.wire += data
            if not data:
                reply.closed = True
                break
        return reply


async def ask(
    server: MockServer, body: Any = None, *, until: Callable[[Reply], bool] | None = None, **options: Any
) -> Reply:
    """One request on a connection of its own, read until its body is whole, or until something else holds."""
    with anyio.fail_after(20):
        async with Client(server) as client:
            return await client.ask(until or _whole, raw_request(body, **options))


def _whole(reply: Reply) -> bool:
    return b"\r\n\r\n" in reply.wire and reply.whole


async def stats(server: MockServer) -> Any:
    return (await ask(server, method="GET", path="/stats")).json()


async def comes_true(holds: Callable[[], bool]) -> None:
    """Let the event loop run until it holds."""
    with anyio.fail_after(20):
        while not holds():
            await anyio.lowlevel.checkpoint()
