"""A wire between a client and a server that shows what passes on it, and can be cut at any byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


class Tap:
    """Listens while its context is open, and passes every connection on to one server."""

    def __init__(self, url: str, *, cut_at: int | None = None, cut_times: int = 1) -> None:
        """`cut_at`: after so many bytes from the server a connection is cut, `cut_times` times."""
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._target = (parts.hostname, parts.port)
        self._cut_at = cut_at
        self._cuts_left = cut_times if cut_at is not None else 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self.received = b""
        """All bytes from the server that were passed on."""
        self.connections = 0
        self._arrived = threading.Condition()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Tap:
        self._start(self._accept)
        return self

    def __exit__(self, *exception: Any) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for each in tuple(self._open):
            _end(each)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        for each in self._open:
            each.close()

    def wait_for(self, holds: Callable[[bytes], Any]) -> None:
        """Return once what came from the server is as wanted."""
        with self._arrived:
            self._arrived.wait_for(lambda: holds(self.received))

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open |= {client, server}
            self.connections += 1
            self._start(self._upwards, client, server)
            self._start(self._downwards, client, server)

    def _upwards(self, client: socket.socket, server: socket.socket) -> None:
        while data := _some(client):
            with contextlib.suppress(OSError):
                server.sendall(data)
        _end(server)

    def _downwards(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        while data := _some(server):
            left = None if not self._cuts_left or self._cut_at is None else self._cut_at - passed
            cut = left is not None and len(data) >= left
            data = data[:left] if cut else data
            passed += len(data)
            with self._arrived:  # first: who has got an answer looks here for it
                self.received += data
                self._arrived.notify_all()
            with contextlib.suppress(OSError):
                client.sendall(data)
            if cut:
                self._cuts_left -= 1
                break
        _end(client)
        _end(server)


def _some(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
