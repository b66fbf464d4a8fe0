"""Whether the servers serve: asked all the time, so that nobody else has to wait to find out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import anyio

from headrace.errors import StoreError
from headrace.stores.redis.refusals import silent
from headrace.stores.redis.servers import Server, Servers
from headrace.stores.waiters import Waiters

log = logging.getLogger("headrace.stores")

LOOK = 1.0
"""Seconds between two looks at a server that serves."""

LOOK_AGAIN = 0.25
"""The same at one that does not: as often as writers try again."""

TIMELY = 2.0
"""Seconds for an answer: a server that takes longer is as good as away for tokens."""


class Watch:
    """Looks at all servers; what it finds is in `Server.problem`."""

    def __init__(self, servers: Servers, patience: float, back: Callable[[], None]) -> None:
        """`patience`: seconds after which nobody shall wait any longer. `back` is told that a server is there again."""
        self._servers = servers
        self._patience = patience
        self._back = back
        self._since: dict[Server, float] = {}
        self._looked = Waiters()

    @property
    def problem(self) -> StoreError | None:
        """Of the servers that have slots, the first one's, if none of them serves."""
        servers = self._servers.current
        if any(server.problem is None for server in servers):
            return None
        return next(iter(servers)).refusal()

    async def run(self, gave_up: Callable[[Server], None]) -> None:
        """Look until cancelled; `gave_up` gets a server for which nobody shall wait any longer, each time."""
        while True:
            async with anyio.create_task_group() as tasks:
                for server in self._servers.current:
                    tasks.start_soon(self._look, server)
            now = asyncio.get_running_loop().time()
            for server, since in tuple(self._since.items()):
                if server not in self._servers.current:
                    del self._since[server]
                elif now - since >= self._patience:
                    gave_up(server)
            self._looked.wake()
            await anyio.sleep(LOOK_AGAIN if self._since else LOOK)

    async def recovered(self, key: str) -> None:
        """See `StreamStore.recovered`; not before the next look, which knows more than who asks."""
        while True:
            await self._looked.wait()
            server = self._servers.at(key)
            if server.problem is None:
                return
            since = self._since.get(server)
            if since is not None and asyncio.get_running_loop().time() - since >= self._patience:
                raise server.refusal()

    async def _look(self, server: Server) -> None:
        maps = self._servers.maps
        try:
            with anyio.fail_after(TIMELY):
                await self._servers.probe(server)
        except TimeoutError:
            problem: StoreError = silent(server.writes.name)
        except StoreError as error:
            problem = error
        except Exception:  # it would end every stream of this node
            log.exception("defect in looking at Redis at %s", server.writes.name)
            return
        else:
            self._is_well(server)
            return
        if server not in self._servers.current:  # it has lost its slots meanwhile
            return
        now = asyncio.get_running_loop().time()
        if server not in self._since:
            self._since[server] = now
            log.warning("streams cannot be kept: %s", problem)
        server.problem = problem
        await self._servers.map_again(maps)  # a failover may have given its slots to another

    def _is_well(self, server: Server) -> None:
        since = self._since.pop(server, None)
        if since is not None:
            server.comes_back()
            seconds = asyncio.get_running_loop().time() - since
            log.warning("Redis at %s serves again, after %.1f s", server.writes.name, seconds)
            self._back()
