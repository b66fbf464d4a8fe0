"""Which server has a key: always the same one, or in a cluster the one that has its slot."""

from __future__ import annotations

import asyncio
import binascii
import copy
import itertools
import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from headrace.config.redis_url import RedisAddress
from headrace.errors import StoreError, StoreUnavailable
from headrace.stores.redis.connection import Argument, Reply
from headrace.stores.redis.link import Link
from headrace.stores.redis.refusals import Moved, unavailable, unreachable

SLOTS = 16384
_KEY_OF_NO_STREAM = "{}probe:{}"
_REDIRECTS = 5
"""A slot moves once; more is a cluster that contradicts itself."""


class Server:
    """One server, over two connections: appends do not wait behind the long replies that readers get."""

    __slots__ = ("_back", "problem", "reads", "writes")

    def __init__(self, address: RedisAddress, told: Callable[[str, bytes], None]) -> None:
        self.writes = Link(address, told)
        self.reads = Link(address, told)
        self.problem: StoreError | None = None
        """Why it does not serve, as was found when it was looked at; nothing is sent to it then."""
        self._back = -math.inf

    def refusal(self) -> StoreError:
        """The problem, for one more who asks: an error that is raised twice keeps what was on the way of both."""
        problem = self.problem
        if problem is None:
            return unreachable(self.writes.name, "it has just come back")
        return copy.copy(problem)

    def comes_back(self) -> None:
        """It serves again, or has got slots that another one had."""
        self.problem = None
        self._back = asyncio.get_running_loop().time()

    @property
    def back_for(self) -> float:
        """Seconds since it came back; endless if it was never away."""
        return asyncio.get_running_loop().time() - self._back

    def close(self) -> None:
        """Both, for good."""
        self.writes.close()
        self.reads.close()


class Servers:
    """All servers, found from one address."""

    def __init__(self, address: RedisAddress, prefix: str, told: Callable[[str, bytes], None]) -> None:
        """`prefix` begins all keys, `told` gets what is said on the channels that links listen to."""
        self._prefix = prefix
        self._address = address
        self._told = told
        self._seed = Server(address, told)
        self._by_name: dict[tuple[str, int], Server] = {(address.host, address.port): self._seed}
        self._slots: list[Server] | None = None
        self._mapping = asyncio.Lock()
        self.maps = 0
        """How often the slots were asked for."""
        self._probes = {self._seed: _KEY_OF_NO_STREAM.format(prefix, 0)}

    async def start(self) -> None:
        """Reach the server, and learn whether it is a cluster's. Raises `StoreError`."""
        await self._seed.writes.connected()
        await self._seed.reads.connected()
        if self._seed.writes.mode == "cluster":
            await self._map(self.maps)

    @property
    def clustered(self) -> bool:
        """Whether the streams are spread over several servers."""
        return self._slots is not None

    def at(self, key: str) -> Server:
        """The server that has a key, as far as is known."""
        return self._seed if self._slots is None else self._slots[slot_of(key)]

    def serves(self, key: str) -> bool:
        """Whether the server of a key does, as was found when it was looked at."""
        return self.at(key).problem is None

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
            maps = self.maps
            if server.problem is not None:
                raise server.refusal()
            try:
                return await call(*command)
            except Moved as moved:
                server = self._server(moved.host or self._address.host, moved.port)
                call = link_of(server).ask if moved.ask else link_of(server).call
                if not moved.ask and self._slots is not None:
                    self._slots[moved.slot] = server
            except StoreUnavailable:
                if self._slots is None:
                    raise
                await self._map(maps)  # a failover may have given its slots to another
                if self.at(key) is server:
                    raise
                server = self.at(key)
                call = link_of(server).call
        raise unavailable("The Redis cluster sends every command on to another server.")

    @property
    def current(self) -> Collection[Server]:
        """All that have slots, as far as is known."""
        return self._probes.keys()

    async def probe(self, server: Server) -> None:
        """See that a server answers, and takes writes. Raises `StoreError`."""
        key, maps = self._probes.get(server), self.maps
        if key is None:
            return
        try:
            await server.writes.call("DEL", key)
            await server.reads.call("EXISTS", key)
        except Moved:  # it serves, and so does another one, which has to be looked at as well
            await self.map_again(maps)

    async def evicting(self) -> list[str]:
        """Which servers throw keys away when memory is full, and how: a server's name and its `maxmemory-policy`.

        Those that do not let this user ask are left out.
        """
        found: list[str] = []
        for server in self.current:
            with suppress(StoreError):
                said: Any = await server.reads.call("INFO", "memory")
                limit, policy = (re.search(name + rb":([\w-]+)", said) for name in (b"maxmemory", b"maxmemory_policy"))
                if limit and policy and limit[1] != b"0" and policy[1] != b"noeviction":
                    found.append(f"{server.reads.name} ({policy[1].decode()})")
        return found

    async def map_again(self, maps: int) -> None:
        """Ask a cluster's servers for the slots, unless somebody has since `maps`; nothing where none answers."""
        if self._slots is not None:
            with suppress(StoreError):
                await self._map(maps)

    async def _map(self, maps: int) -> None:
        """Ask any server for the slots, unless somebody has since `maps`."""
        async with self._mapping:
            if maps != self.maps:
                return
            problem: StoreError | None = None
            for server in self._likely():
                try:
                    ranges: list[Any] = await server.writes.call("CLUSTER", "SLOTS")
                except StoreError as error:
                    problem = error
                    continue
                self._take(ranges)
                return
            if problem is not None:
                raise problem

    def _likely(self) -> Sequence[Server]:
        """All that are known, those that serve first: to wait for one that is away takes seconds."""
        return sorted(self._by_name.values(), key=lambda each: (each.problem is not None, each not in self._probes))

    def _take(self, ranges: list[Any]) -> None:
        slots = [self._seed] * SLOTS if self._slots is None else self._slots
        for first, last, primary, *_ in ranges:
            host = (primary[0] or b"").decode() or self._address.host
            slots[first : last + 1] = [self._server(host, primary[1])] * (last + 1 - first)
        if self._slots is not None:
            for server in set(slots) - self._probes.keys():
                server.comes_back()
        self._slots = slots
        self.maps += 1
        for server in self._probes.keys() - set(slots):
            server.problem = None  # nobody looks at it any more, and one day it may have slots again
        self._probes = dict[Server, str]()
        wanted = len(set(slots))
        for number in itertools.count():
            key = _KEY_OF_NO_STREAM.format(self._prefix, number)
            self._probes.setdefault(slots[slot_of(key)], key)
            if len(self._probes) == wanted:
                return

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
