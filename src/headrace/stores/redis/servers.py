"""Which server has a key: always the same one, or in a cluster the one that has its slot."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.config.redis_url import RedisAddress
from headrace.errors import StoreError
from headrace.stores.redis.connection import Argument, Reply
from headrace.stores.redis.link import Link
from headrace.stores.redis.refusals import Moved

SLOTS = 16384
_REDIRECTS = 5
"""A slot moves once; more is a cluster that contradicts itself."""


class Server:
    """One server, over two connections: appends do not wait behind the long replies that readers get."""

    __slots__ = ("reads", "writes")

    def __init__(self, address: RedisAddress, told: Callable[[str, bytes], None]) -> None:
        self.writes = Link(address, told)
        self.reads = Link(address, told)

    def close(self) -> None:
        """Both, for good."""
        self.writes.close()
        self.reads.close()


class Servers:
    """All servers, found from one address."""

    def __init__(self, address: RedisAddress, told: Callable[[str, bytes], None]) -> None:
        """`told` gets what is said on the channels that links listen to."""
        self._address = address
        self._told = told
        self._seed = Server(address, told)
        self._by_name: dict[tuple[str, int], Server] = {(address.host, address.port): self._seed}
        self._slots: list[Server] | None = None
        self._mapping = asyncio.Lock()
        self._maps = 0

    async def start(self) -> None:
        """Reach the server, and learn whether it is a cluster's. Raises `StoreError`."""
        await self._seed.writes.connected()
        await self._seed.reads.connected()
        if self._seed.writes.mode == "cluster":
            await self._map(self._maps)

    def at(self, key: str) -> Server:
        """The server that has a key, as far as is known."""
        return self._seed if self._slots is None else self._slots[slot_of(key)]

    async def write(self, key: str, *command: Argument) -> Reply:
        """Carry out a command where `key` is; see `Link.call`."""
        return await self._call(key, command, lambda server: server.writes)

    async def read(self, key: str, *command: Argument) -> Reply:
        """The same over the connection of those who read."""
        return await self._call(key, command, lambda server: server.reads)

    async def _call(self, key: str, command: tuple[Argument, ...], link_of: Callable[[Server], Link]) -> Reply:
        server = self.at(key)
        call = link_of(server).call
        for _ in range(_REDIRECTS):
            maps = self._maps
            try:
                return await call(*command)
            except Moved as moved:
                server = self._server(moved.host or self._address.host, moved.port)
                call = link_of(server).ask if moved.ask else link_of(server).call
                if not moved.ask and self._slots is not None:
                    self._slots[moved.slot] = server
            except StoreError as error:
                if self._slots is None or error.may_retry is False or error.code != StoreError.code:
                    raise
                await self._map(maps)  # a failover may have given its slots to another
                if self.at(key) is server:
                    raise
                server = self.at(key)
                call = link_of(server).call
        raise StoreError("The Redis cluster sends every command on to another server; try again.", retry_after=1)

    async def _map(self, maps: int) -> None:
        """Ask any server for the slots, unless somebody has since `maps`."""
        async with self._mapping:
            if maps != self._maps:
                return
            problem: StoreError | None = None
            for server in tuple(self._by_name.values()):
                try:
                    ranges: list[Any] = await server.writes.call("CLUSTER", "SLOTS")
                except StoreError as error:
                    problem = error
                    continue
                self._take(ranges)
                return
            if problem is not None:
                raise problem

    def _take(self, ranges: list[Any]) -> None:
        slots = [self._seed] * SLOTS if self._slots is None else self._slots
        for first, last, primary, *_ in ranges:
            host = (primary[0] or b"").decode() or self._address.host
            slots[first : last + 1] = [self._server(host, primary[1])] * (last + 1 - first)
        self._slots = slots
        self._maps += 1

    def _server(self, host: str, port: int) -> Server:
        found = self._by_name.get((host, port))
        if found is None:
            address = msgspec.structs.replace(self._address, host=host, port=port, path="")
            found = self._by_name[host, port] = Server(address, self._told)
        return found

    def close(self) -> None:
        """All connections, for good."""
        for server in self._by_name.values():
            server.close()


def slot_of(key: str) -> int:
    """Redis Cluster's: CRC-16 of what is between the first braces, or of the whole key."""
    data = key.encode()
    start = data.find(b"{")
    end = data.find(b"}", start + 1) if start >= 0 else -1
    if end > start + 1:
        data = data[start + 1 : end]
    return binascii.crc_hqx(data, 0) % SLOTS
