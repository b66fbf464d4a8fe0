"""The scripted model server for tests that are not async: it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.servers.scripted import Connection, Request, ScriptedServer, Step, Wait

UPSTREAM_KEY = "sk-the-operators-own"
"""What the operator has configured; not the caller's."""


class Gate:
    """A place in a script that the test opens."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._event = asyncio.Event()
        self.wait = Wait(self._event)

    def open(self) -> None:
        self._portal.call(self._event.set)


class Upstream:
    """A model server that gives every question the same scripted answer."""

    def __init__(self, portal: BlockingPortal, server: ScriptedServer) -> None:
        self._portal = portal
        self._server = server
        self.url = server.url

    def gate(self) -> Gate:
        return Gate(self._portal)

    def play(self, *steps: Step) -> None:
        """From now on answer like this; the requests of before are forgotten."""
        self.choose(lambda _: steps)

    def choose(self, steps: Callable[[Request], Sequence[Step]]) -> None:
        """From now on answer each request as this says; the requests of before are forgotten."""

        def change() -> None:
            self._server.requests.clear()
            self._server.log.clear()
            self._server.choose = steps

        self._portal.call(change)

    @property
    def requests(self) -> list[Request]:
        """Since `play`."""
        return self._server.requests

    def asked(self, times: int = 1) -> None:
        """Return once so many requests have come since `play`."""
        self._portal.call(self._server.happened, "request", times)

    def connection(self, request: int = 0) -> Connection:
        """The connection of the n-th request since `play`."""
        return self._server.connections[self.requests[request].connection]

    def left(self, request: int = 0) -> None:
        """Return once Headrace has closed that connection."""
        self._portal.call(self.connection(request).left.wait)

    def has_left(self, request: int = 0) -> bool:
        """Whether Headrace has closed it by this very moment."""

        async def look() -> bool:
            return self.connection(request).client_has_closed

        return self._portal.call(look)


@contextlib.contextmanager
def listening() -> Iterator[Upstream]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(ScriptedServer()) as server:
        yield Upstream(portal, server)
