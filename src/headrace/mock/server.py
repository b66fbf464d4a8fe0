"""The listening mock."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final

from headrace.mock.connection import Connection, Shared
from headrace.mock.faults import Fault
from headrace.mock.pacing import Wheel
from headrace.mock.recording import Recording
from headrace.mock.responder import Responder
from headrace.mock.scenario import Director, Rule
from headrace.mock.settings import Settings
from headrace.mock.stats import Stats

# A load test opens thousands of connections at once; the system has its own limit below this.
_BACKLOG: Final = 4096


class MockServer:
    """Listens while its context is open; leaving it cuts every connection.

    async with MockServer(Settings(tokens=5), parse_faults("cut-bytes:100")) as server:
        ... ask server.url ...
        assert server.stats.by_fault["cut-bytes"] == 1
    """

    def __init__(
        self,
        settings: Settings | None = None,
        faults: Iterable[Fault] = (),
        rules: Sequence[Rule] = (),
        recordings: Sequence[Recording] = (),
    ) -> None:
        settings = settings or Settings()
        self.stats = Stats()
        self._director = Director(settings, tuple(faults), rules)
        self._responder = Responder(settings, self._director, self.stats, recordings)
        self.url = ""
        """Without a path: `http://127.0.0.1:4711`."""

    async def __aenter__(self) -> MockServer:
        await self.listen([])
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self.close()

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on bound sockets, or without any on a free port of the loopback."""
        loop = asyncio.get_running_loop()
        shared = Shared(loop, Wheel(loop), self.stats, self._responder.reply, self._director.refuses)
        self._shared = shared
        if sockets:
            made = [loop.create_server(lambda: Connection(shared), sock=each, backlog=_BACKLOG) for each in sockets]
        else:
            made = [loop.create_server(lambda: Connection(shared), "127.0.0.1", 0, backlog=_BACKLOG)]
        self._servers = [await each for each in made]
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def blocked(self) -> int:
        """Connections whose client reads more slowly than is written."""
        return sum(connection.blocked for connection in self._shared.open)

    def close(self) -> None:
        """Stop at once: no answer ends well."""
        for server in self._servers:
            server.close()
        self._shared.wheel.close()
        for connection in list(self._shared.open):
            connection.abort()
