"""What only a cluster does: slots move, and servers are lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest

from headrace.config.redis_url import parse_redis_url
from headrace.engine.clock import FakeClock
from headrace.errors import StoreError
from headrace.stores.redis import RedisStore
from headrace.stores.redis.refusals import silent
from headrace.stores.redis.servers import Servers, slot_of
from tests.stores.contract import EVERYTHING, TTL, end_of_stream, let_others_run, tokens
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import VALKEY, Server, cluster

pytestmark = pytest.mark.anyio


class Move:
    """One slot on its way from one server to another."""

    def __init__(self, servers: Sequence[Server], slot: int) -> None:
        self.slot = slot
        ids = [server.ask("CLUSTER", "MYID") for server in servers]
        owner = next(entry[2][1] for entry in servers[0].ask("CLUSTER", "SLOTS") if entry[0] <= slot <= entry[1])
        number = next(number for number, server in enumerate(servers) if server.port == owner)
        self.source, self.target = servers[number], servers[(number + 1) % len(servers)]
        self.source_id, self.target_id = ids[number], ids[(number + 1) % len(servers)]
        self.servers = servers

    def begin(self) -> None:
        """What is new goes to the target, what is there stays until it is moved."""
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source_id)
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target_id)

    def carry(self) -> None:
        """All keys."""
        while keys := self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            self.source.ask("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)

    def end(self) -> None:
        """The slot is the target's."""
        for server in (self.target, self.source):
            server.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.target_id)


@pytest.fixture
async def stores(
    anyio_backend: str, shards: Sequence[Server]
) -> AsyncIterator[tuple[RedisStore, RedisStore, FakeClock]]:
    for server in shards:
        server.ask("FLUSHALL")
    clock = FakeClock()
    here, there = (make(server.url, sleep=clock.sleep) for server in shards[:2])
    with anyio.fail_after(20):
        async with running(here, there):
            yield here, there, clock


async def test_streams_are_spread_over_all_servers(
    stores: tuple[RedisStore, RedisStore, FakeClock], shards: Sequence[Server]
) -> None:
    here, there, _ = stores
    for number in range(30):
        lease = await here.acquire(f"s{number}", "ann", b"{}", TTL)
        await here.append(lease, 0, tokens(0, 2))
        assert list(await there.read(f"s{number}", -1, 10)) == tokens(0, 2)
    assert all(server.ask("DBSIZE") > 10 for server in shards)


@pytest.mark.promise("P28")
async def test_a_stream_whose_slot_moves_goes_on_for_producer_and_readers(
    stores: tuple[RedisStore, RedisStore, FakeClock], shards: Sequence[Server]
) -> None:
    here, there, clock = stores
    lease = await here.acquire("s", "ann", b"{}", TTL)
    await here.append(lease, 0, tokens(0, 2))
    seen = list(tokens(0, 2))

    async def reader() -> None:
        while not seen[-1].terminal:
            await there.wait("s", len(seen) - 1)
            seen.extend(await there.read("s", len(seen) - 1, EVERYTHING))

    await there.wait("s", 0)
    move = Move(shards, slot_of("{s}"))
    async with anyio.create_task_group() as group:
        group.start_soon(reader)
        await let_others_run()
        move.begin()
        await here.append(lease, 2, tokens(2, 4))
        move.carry()
        await here.append(lease, 4, tokens(4, 6))  # asks at the target
        assert len(await here.read("s", -1, EVERYTHING)) == 6
        move.end()
        await here.append(lease, 6, tokens(6, 8))
        await here.finish(lease, end_of_stream(8))
        while not seen[-1].terminal:
            await let_others_run()
            clock.advance(2.0)
    assert seen == [*tokens(0, 8), end_of_stream(8)]


async def test_streams_that_were_made_at_one_time_are_in_every_list_once(
    stores: tuple[RedisStore, RedisStore, FakeClock],
) -> None:
    store, *_ = stores
    names, servers = store._names, store._servers
    ids = [f"stream {number}" for number in range(200)]  # more than a page in each part
    last = Counter[str]()
    for each in ids:
        await store.acquire(each, "ann", b"{}", TTL)
        key = names.owner_of("ann", each)
        last[key] += 1  # in one part times are never the same
        await servers.write(key, "ZADD", key, str(last[key]), each)
    seen: list[str] = []
    while page := await store.list("ann", None, seen[-1] if seen else None, 17):
        seen += [info.id for info in page]
    assert sorted(seen) == sorted(ids)
    assert seen == [info.id for info in await store.list("ann", None, None, 300)]


async def test_streams_on_other_servers_go_on_when_one_is_lost(tmp_path: Path) -> None:
    with cluster(VALKEY, tmp_path) as servers:
        for server in servers:
            server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        store = make(servers[0].url)
        with anyio.fail_after(20):
            async with running(store):
                leases = [await store.acquire(f"s{number}", "ann", b"{}", TTL) for number in range(12)]
                lost = servers[2].port
                os.kill(servers[2].pid, signal.SIGKILL)
                for lease in leases:
                    owner = store._servers.at(f"{{{lease.id}}}").writes.name
                    if owner == f"127.0.0.1:{lost}":
                        with pytest.raises(StoreError):
                            await store.append(lease, 0, tokens(0, 1))
                    else:
                        await store.append(lease, 0, tokens(0, 1))
                owners = {store._servers.at(f"{{{lease.id}}}").writes.name for lease in leases}
                assert len(owners) == 3


async def test_a_look_at_a_server_whose_slot_has_moved_shows_who_has_it(
    stores: tuple[RedisStore, RedisStore, FakeClock], shards: Sequence[Server]
) -> None:
    servers = stores[0]._servers
    before, key = next(iter(servers._probes.items()))
    move = Move(shards, slot_of(key))
    move.begin()
    move.end()
    await servers.probe(before)
    assert servers.at(key).writes.name == f"127.0.0.1:{move.target.port}"


async def test_a_server_that_lost_its_slots_while_it_was_away_serves_when_it_has_some_again() -> None:
    servers = Servers(parse_redis_url("redis://127.0.0.1:1/0"), "", lambda channel, message: None)
    first, second = [b"127.0.0.1", 1], [b"127.0.0.1", 2]
    servers._take([[0, 8191, first], [8192, 16383, second]])
    lost = servers._slots[8192]  # pyright: ignore[reportOptionalSubscript]
    lost.problem = silent("it")
    servers._take([[0, 16383, first]])
    servers._slots[8192] = lost  # pyright: ignore[reportOptionalSubscript] - as when another one says that it has it
    assert lost.problem is None


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("foo", 12182),
        ("{foo}:log", 12182),
        ("a{foo}b{bar}", 12182),
        ("", 0),
        ("foo{}{bar}", 8363),
        ("123456789", 12739),
    ],
)
async def test_slots_are_those_of_the_specification(key: str, slot: int) -> None:
    assert slot_of(key) == slot
