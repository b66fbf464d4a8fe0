"""One connection of the load client: it keeps what it reads and looks at it later, so that it costs little."""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast

from benchmarks.gateways.transcript import Record

now = time.monotonic_ns
_LAST: Final = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Carries requests one after the other, and makes a record of each answer."""

    def __init__(self) -> None:
        self._over: asyncio.Future[None] | None = None
        self.record = Record(0, [], [])
        """Of the request that was asked last."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Keep it; an answer is over with the chunk that has no bytes."""
        record = self.record
        record.times.append(now())
        record.reads.append(data)
        if data[-5:] == _LAST or (len(data) < 5 and b"".join(record.reads[-5:])[-5:] == _LAST):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """The answer is over, whole or not: its record tells."""
        self._finish()

    @property
    def usable(self) -> bool:
        """Whether it takes another request."""
        return not self._transport.is_closing()

    async def carry(self, request: bytes) -> Record:
        """Send a request and return when its answer is over."""
        self.record = Record(now(), [], [])
        self._over = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._over
        return self.record

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _finish(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


class Target:
    """A server's address, and what a request to it looks like."""

    def __init__(self, port: int, path: str, headers: list[str]) -> None:
        """`{number}` in a header is a number that no other request has."""
        self._port = port
        self._path = path
        self._headers = headers
        self._number = 0

    async def connect(self) -> Connection:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, "127.0.0.1", self._port))[1]

    def look(self, path: str, position: str = "") -> bytes:
        """A request for a stream that there is, from a position on."""
        after = [f"Last-Event-ID: {position}"] if position else []
        keys = [line for line in self._headers if line.startswith(("Authorization:", "Headrace-Ids:"))]
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Accept: text/event-stream", *keys, *after]
        return "\r\n".join([*lines, "", ""]).encode()

    def question(self, fields: str = "") -> bytes:
        """A request, each time another one; `fields` is more JSON of its body."""
        self._number += 1
        text = f'"messages":[{{"role":"user","content":"question {self._number}"}}]'
        body = f'{{"model":"mock",{text},"stream":true{fields}}}'
        lines = [
            f"POST {self._path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(body)}",
            *(line.replace("{number}", str(self._number)) for line in self._headers),
        ]
        return "\r\n".join([*lines, "", body]).encode()
