"""HTTP by hand: every byte that arrives is seen, and a connection can be cut anywhere."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.processes import PATIENCE_S

_RESET = struct.pack("ii", 1, 0)
_FIELD = re.compile(rb"id: [!-~]{1,127}|retry: 2000|event: [a-z._]+|data: .+")


class Exchange:
    """One request and its answer on a connection of its own."""

    def __init__(self, url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Send the request; `body` becomes JSON."""
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)
        content = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": parts.netloc, "Content-Length": str(len(content)), **(headers or {})}
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._socket.sendall(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + content)
        self._received = b""
        self._closed = False

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._socket.close()

    def _more(self) -> bool:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        self._received += data
        self._closed = not data
        return bool(data)

    def _head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._received and self._more():
            pass
        head = self._received.partition(b"\r\n\r\n")[0].decode()
        first, *lines = head.split("\r\n")
        assert first.startswith("HTTP/1.1 "), f"no answer: {first!r}"
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in map(_parted, lines)}

    @property
    def status(self) -> int:
        return self._head()[0]

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        return self._head()[1]

    @property
    def wire(self) -> bytes:
        """All bytes so far, the head and the framing of the chunks too."""
        return self._received

    def _body(self) -> tuple[bytes, bool]:
        """What has arrived of the body, and whether that is all of it."""
        headers = self.headers
        data = self._received.partition(b"\r\n\r\n")[2]
        if headers.get("transfer-encoding") == "chunked":
            return unchunked(data)
        length = int(headers.get("content-length", "0"))
        return data[:length], len(data) >= length

    def until(self, holds: Callable[[bytes], Any]) -> bytes:
        """Read until the body so far is as wanted, and return it."""
        while not holds(self._body()[0]):
            assert self._more(), f"the body ended before: {self._body()[0]!r}"
        return self._body()[0]

    def rest(self) -> bytes:
        """Read to the end and return the whole body, however it ended."""
        while not self._body()[1] and self._more():
            pass
        return self._body()[0]

    @property
    def clean(self) -> bool:
        """Whether the body ended as HTTP says that a complete one ends; after `rest`."""
        return self._body()[1]

    def json(self) -> Any:
        body = self.rest()
        assert self.clean
        return json.loads(body)

    def frames(self) -> list[bytes]:
        """Read to the end; the frames of an SSE body."""
        return list(frames(self.rest()))

    def reset(self) -> None:
        """Vanish: the other side gets a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """What has arrived of a chunked body, a chunk that is not complete too; and whether the last chunk has come."""
    body = b""
    while b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body, data.startswith(b"\r\n")
        body += data[:length]
        data = data[length + 2 :]
    return body, False


@dataclass
class Frame:
    """One complete SSE frame; `id` is empty where there was none."""

    data: bytes
    id: str = ""


def events(body: bytes) -> Iterator[Frame]:
    """The complete frames of an SSE body, each line held against what P14 allows."""
    assert b"\r" not in body
    assert not body.startswith(b"\xef\xbb\xbf")
    *complete, _ = body.split(b"\n\n")
    for block in complete:
        lines = [line for line in block.split(b"\n") if line != b":"]
        assert all(_FIELD.fullmatch(line) for line in lines), block
        data = [line[6:] for line in lines if line.startswith(b"data: ")]
        assert len(data) == 1, block
        ids = [line[4:].decode() for line in lines if line.startswith(b"id: ")]
        yield Frame(data[0], ids[0] if ids else "")


def frames(body: bytes) -> Iterator[bytes]:
    """The data of the complete frames."""
    return (frame.data for frame in events(body))


def heartbeats(body: bytes) -> int:
    return body.split(b"\n").count(b":")


def get(url: str, **headers: str) -> Any:
    """The JSON of a GET that must succeed."""
    with Exchange(url, headers=headers) as exchange:
        assert exchange.status == 200, exchange.rest()
        return exchange.json()


def read(url: str, accept: str = "text/event-stream", **headers: str) -> list[bytes]:
    """The frames of a stream from a GET that must end cleanly; none for 204."""
    with Exchange(url, headers={"Accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}}) as exchange:
        if exchange.status == 204:
            return []
        assert exchange.status == 200, exchange.rest()
        found = exchange.frames()
        assert exchange.clean
        return found
