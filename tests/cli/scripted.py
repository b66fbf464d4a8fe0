"""A loopback server that answers each connection with the next bytes of its script, and what it is scripted to say."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.codecs import sse
from headrace.dialects import NATIVE
from headrace.events import Event, Record

RESET = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """One connection, one request, one answer: the bytes are sent and the connection is closed."""

    answers: Sequence[bytes]
    reset: bool = False
    """Whether to end connections with RST instead of FIN."""
    requests: list[Request] = field(default_factory=list[Request])

    def __enter__(self) -> ScriptedServer:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join()

    def _run(self) -> None:
        for answer in self.answers:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # the test is over and asked less often
                return
            with connection:
                self.requests.append(_read_request(connection))
                if self.reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.sendall(answer)
                if not self.reset:
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
        self._socket.close()


def _read_request(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in fields)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return Request(line, headers, body)


def answer(status: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(body: bytes, *, ended: bool = True) -> bytes:
    """The head and a body in one chunk; without its last chunk it is a cut."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return head + chunk + (b"0\r\n\r\n" if ended else b"")


def log(*records: Sequence[Event]) -> list[Record]:
    """Records in order, 100 ms apart."""
    return [Record(seq, 1_000_000 + seq * 100, tuple(events)) for seq, events in enumerate(records)]


def frames(records: Sequence[Record], retry_ms: int = 1) -> list[bytes]:
    """The native SSE frames of a log, as the server writes them."""
    view = NATIVE.view("")
    return [
        sse.encode(view.encode(record), id=f"n1.{record.seq + 1}", retry_ms=None if record.seq else retry_ms)
        for record in records
    ]
