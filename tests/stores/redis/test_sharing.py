"""Several nodes on one server: who may write, and how the others hear of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import anyio
import pytest

from headrace.engine.clock import FakeClock
from headrace.errors import Fenced, LeaseHeld, NotFound
from headrace.events import Record
from headrace.stores.base import Lease
from headrace.stores.redis import RedisStore
from tests.stores.contract import EVERYTHING, RETENTION, TTL, end_of_stream, let_others_run, token, tokens
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import Server

pytestmark = pytest.mark.anyio

META = "headrace:{s}:meta"
POLL = 2.0


class Nodes:
    """Two stores on one server; their looks around happen when the clock is moved."""

    def __init__(self, server: Server) -> None:
        server.ask("FLUSHALL")
        self.server = server
        self.clock = FakeClock()
        self.here, self.there = (self.store() for _ in range(2))

    def store(self) -> RedisStore:
        return make(self.server.url, now=self.clock.wall, sleep=self.clock.sleep)

    async def look(self) -> None:
        """Let every node look at the streams of which it has heard nothing since the last time."""
        await let_others_run()
        self.clock.advance(POLL)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.server.age(seconds)

    def append_untold(self, records: Sequence[Record]) -> None:
        """What is left of an append whose message got lost."""
        from headrace.stores.redis.store import _json

        for record in records:
            self.server.ask("XADD", "headrace:{s}:log", f"{record.seq + 1}-0", "r", _json(record).decode())
        self.server.ask("HSET", META, "next", records[-1].seq + 1)


@pytest.fixture
async def nodes(anyio_backend: str, valkey: Server) -> AsyncIterator[Nodes]:
    nodes = Nodes(valkey)
    with anyio.fail_after(8):
        async with running(nodes.here, nodes.there):
            yield nodes


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def log_of(store: RedisStore) -> list[Record]:
    return list(await store.read("s", -1, EVERYTHING))


class Told:
    """What a follower gets."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.problems: list[Exception] = []

    def take(self, records: Sequence[Record]) -> None:
        self.records += records

    def lost(self, problem: Exception) -> None:
        self.problems.append(problem)


# Producers


@pytest.mark.promise("P3")
async def test_of_two_producers_the_one_whose_lease_ran_out_is_fenced(nodes: Nodes) -> None:
    old = await nodes.here.acquire("s", "ann", b"{}", TTL)
    await nodes.here.append(old, 0, tokens(0, 2))
    with pytest.raises(LeaseHeld):
        await nodes.there.acquire("s", "ann", b"{}", TTL)
    nodes.pass_time(TTL + 1)
    new = await nodes.there.acquire("s", "ann", b"{}", TTL)
    assert (new.epoch, new.next_seq) == (old.epoch + 1, 2)
    await nodes.there.append(new, 2, [token(2, "theirs")])
    for attempt in (
        lambda: nodes.here.append(old, 2, tokens(2, 3)),
        lambda: nodes.here.renew(old, TTL),
        lambda: nodes.here.finish(old, end_of_stream(2)),
    ):
        with pytest.raises(Fenced):
            await attempt()
    await nodes.there.finish(new, end_of_stream(3))
    assert await log_of(nodes.here) == [*tokens(0, 2), token(2, "theirs"), end_of_stream(3)]


@pytest.mark.promise("P28")
async def test_a_reader_of_the_fenced_node_goes_on_with_what_the_other_appends(nodes: Nodes) -> None:
    await nodes.here.acquire("s", "ann", b"{}", TTL)
    woken = anyio.Event()

    async def reader() -> None:
        await nodes.here.wait("s", -1)
        woken.set()

    async with anyio.create_task_group() as group:
        group.start_soon(reader)
        await let_others_run()
        nodes.pass_time(TTL + 1)
        new = await nodes.there.acquire("s", "ann", b"{}", TTL)
        await nodes.there.append(new, 0, tokens(0, 2))
        await until_looked(nodes, woken.is_set)
    assert await log_of(nodes.here) == tokens(0, 2)


async def until_looked(nodes: Nodes, condition: Callable[[], object]) -> None:
    """Move the clock from look to look until it is so."""
    while not condition():
        await nodes.look()


@pytest.mark.promise("P3")
async def test_streams_without_a_producer_are_found_and_can_be_ended_once(nodes: Nodes) -> None:
    _, alive, over = [await nodes.here.acquire(name, "ann", b"{}", TTL) for name in ("lost", "alive", "over")]
    await nodes.here.finish(over, end_of_stream(0))
    assert await nodes.there.abandoned(10) == []
    nodes.pass_time(TTL - 1)
    await nodes.here.renew(alive, TTL)
    nodes.pass_time(2)
    (found,) = await nodes.there.abandoned(10)
    assert (found.id, found.owner, found.next_seq, found.state) == ("lost", "ann", 0, "running")
    lease = await nodes.there.acquire(found.id, found.owner, b"", TTL)
    with pytest.raises(LeaseHeld):
        await nodes.here.acquire(found.id, found.owner, b"", TTL)
    await nodes.there.finish(lease, end_of_stream(lease.next_seq))
    assert await nodes.there.abandoned(10) == []
    assert nodes.server.ask("ZCARD", "headrace:running") == 1


async def test_a_node_that_looks_for_abandoned_streams_and_finds_none_asks_one_question(nodes: Nodes) -> None:
    for name in ("one", "two"):
        await nodes.here.acquire(name, "ann", b"{}", TTL)
    before = asked(nodes)
    assert await nodes.there.abandoned(10) == []
    assert asked(nodes) - before == 1


def asked(nodes: Nodes) -> int:
    """Commands that the server has carried out, but for those of the tests."""
    said: str = nodes.server.ask("INFO", "commandstats")
    lines = [line for line in said.splitlines() if line.startswith("cmdstat_") and not line.startswith("cmdstat_info")]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


@pytest.mark.promise("P3")
async def test_entries_of_streams_that_are_gone_are_taken_out_and_early_ones_put_right(nodes: Nodes) -> None:
    gone, ended, writing = [await nodes.here.acquire(name, "ann", b"{}", TTL) for name in ("gone", "ended", "writing")]
    await nodes.here.finish(ended, end_of_stream(0))
    await nodes.here.delete(gone.id)
    for name in ("gone", "ended"):  # as if taking them out had got lost
        nodes.server.ask("ZADD", "headrace:running", "1", name)
    nodes.pass_time(TTL - 1)
    await nodes.here.append(writing, 0, tokens(0, 1))
    nodes.pass_time(2)
    assert await nodes.there.abandoned(10) == []
    assert nodes.server.ask("ZRANGE", "headrace:running", 0, -1) == ["writing"]
    assert float(nodes.server.ask("ZSCORE", "headrace:running", "writing")) > nodes.clock.wall()
    before = asked(nodes)
    assert await nodes.there.abandoned(10) == []
    assert asked(nodes) - before == 1, "an entry that was put right is looked at again"


# Readers


@pytest.mark.promise("P28")
async def test_what_one_node_appends_is_told_to_followers_on_another(nodes: Nodes) -> None:
    lease = await begin(nodes)
    told = Told()
    assert nodes.there.follow("s", 0, told) is not None
    for seq in range(1, 5):
        await nodes.here.append(lease, seq, [token(seq)])
    await nodes.here.append(lease, 5, [token(5, "x" * 20_000)])  # too long to be told: it is read
    await nodes.here.finish(lease, end_of_stream(6))
    await until(lambda: len(told.records) == 6)
    assert told.records == [*tokens(1, 5), token(5, "x" * 20_000), end_of_stream(6)]


async def begin(nodes: Nodes) -> Lease:
    """A stream with one record, which is produced here and known there."""
    lease = await nodes.here.acquire("s", "ann", b"{}", TTL)
    await nodes.here.append(lease, 0, [token(0)])
    await nodes.there.wait("s", -1)
    return lease


@pytest.mark.promise("P4")
async def test_a_follower_gets_what_a_lost_message_had_with_the_next_one(nodes: Nodes) -> None:
    lease = await begin(nodes)
    told = Told()
    assert nodes.there.follow("s", 0, told) is not None
    nodes.append_untold(tokens(1, 4))
    await nodes.here.append(lease, 4, tokens(4, 6))
    await until(lambda: len(told.records) == 5)
    assert told.records == tokens(1, 6)


@pytest.mark.promise("P4")
@pytest.mark.parametrize("way", ["waits", "follows"])
async def test_a_lost_message_is_found_by_the_next_look(nodes: Nodes, way: str) -> None:
    await begin(nodes)
    told = Told()
    if way == "follows":
        assert nodes.there.follow("s", 0, told) is not None

    async def reader() -> None:
        await nodes.there.wait("s", 0)
        told.records += await nodes.there.read("s", 0, EVERYTHING)

    async with anyio.create_task_group() as group:
        if way == "waits":
            group.start_soon(reader)
        await let_others_run()
        nodes.append_untold(tokens(1, 4))
        await let_others_run()
        assert told.records == []
        await until_looked(nodes, lambda: told.records)
    assert told.records == tokens(1, 4)


@pytest.mark.promise("P4")
async def test_readers_live_through_a_cut_connection(nodes: Nodes) -> None:
    lease = await begin(nodes)
    told = Told()
    assert nodes.there.follow("s", 0, told) is not None
    nodes.server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    nodes.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await nodes.here.append(lease, 1, tokens(1, 3))
    await until_looked(nodes, lambda: told.records)
    await nodes.here.append(lease, 3, tokens(3, 5))
    await until(lambda: len(told.records) == 4)
    assert told.records == tokens(1, 5)


async def test_deleting_on_one_node_is_told_on_the_other(nodes: Nodes) -> None:
    lease = await begin(nodes)
    told = Told()
    nodes.there.follow("s", 0, told)
    await nodes.here.delete("s")
    await until(lambda: told.problems)
    assert isinstance(told.problems[0], NotFound)
    with pytest.raises(NotFound):
        await nodes.here.append(lease, 1, tokens(1, 2))


@pytest.mark.promise("P23")
async def test_any_number_of_readers_shares_one_connection_and_waiting_holds_none(nodes: Nodes) -> None:
    leases = [await nodes.here.acquire(f"s{number}", "ann", b"{}", TTL) for number in range(20)]
    woken: list[str] = []

    async def reader(stream_id: str) -> None:
        await nodes.there.wait(stream_id, -1)
        woken.append(stream_id)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(reader, f"s{number % 20}")
        await until(lambda: shard_channels(nodes) == 20)
        assert int(nodes.server.ask("INFO", "clients").split("connected_clients:")[1].split()[0]) == 5  # with this one
        for lease in leases:
            await nodes.here.append(lease, 0, [token(0)])
    assert len(woken) == 200


def shard_channels(nodes: Nodes) -> int:
    return len([name for name in nodes.server.ask("PUBSUB", "SHARDCHANNELS") if ":meta" in name])


async def test_who_reads_along_where_it_is_produced_asks_the_server_nothing(nodes: Nodes) -> None:
    nodes.server.ask("CONFIG", "RESETSTAT")
    lease = await nodes.here.acquire("s", "ann", b"{}", TTL)
    seen: list[Record] = []
    for seq in range(0, 500, 5):
        await nodes.here.append(lease, seq, tokens(seq, seq + 5))
        await nodes.here.wait("s", len(seen) - 1)
        seen += await nodes.here.read("s", len(seen) - 1, EVERYTHING)
    assert seen == tokens(0, 500)
    assert "cmdstat_xrange" not in nodes.server.ask("INFO", "commandstats")
    assert list(await nodes.here.read("s", 9, 400)) == tokens(10, 410)  # but not for what is long past
    assert "cmdstat_xrange:calls=1" in nodes.server.ask("INFO", "commandstats")


async def test_nobody_listens_to_streams_that_nobody_reads(nodes: Nodes) -> None:
    lease = await begin(nodes)
    assert shard_channels(nodes) == 1
    await until_looked(nodes, lambda: shard_channels(nodes) == 0)
    await nodes.here.append(lease, 1, tokens(1, 2))
    assert await log_of(nodes.there) == tokens(0, 2)


# Cancelling


@pytest.mark.promise("P7")
@pytest.mark.parametrize("lost", [False, True])
async def test_the_producing_node_is_told_to_cancel_and_finds_it_when_the_message_is_lost(
    nodes: Nodes, lost: bool
) -> None:
    await begin(nodes)
    delivered: list[tuple[str, str]] = []

    async def engine(store: RedisStore) -> None:
        async for request in store.cancellations():
            delivered.append(request)  # noqa: PERF401 - seen while the iteration runs

    async with anyio.create_task_group() as group:
        for store in (nodes.here, nodes.there):
            group.start_soon(engine, store)
        if lost:
            nodes.server.ask("HSET", META, "cancel", "client")
            await until_looked(nodes, lambda: delivered)
        else:
            await nodes.there.request_cancel("s", "client")
            await until(lambda: delivered)
        for _ in range(3):
            await nodes.look()
        group.cancel_scope.cancel()
    assert delivered == [("s", "client")]


@pytest.mark.promise("P7")
@pytest.mark.parametrize("step", ["append", "renew", "take over"])
async def test_a_lost_cancel_request_comes_with_the_next_step_of_the_stream(nodes: Nodes, step: str) -> None:
    lease = await begin(nodes)
    nodes.server.ask("HSET", META, "cancel", "client")
    if step == "append":
        await nodes.here.append(lease, 1, tokens(1, 2))
    elif step == "renew":
        await nodes.here.renew(lease, TTL)
    else:
        nodes.pass_time(TTL + 1)
        await nodes.here.acquire("s", "ann", b"{}", TTL)
    assert await anext(nodes.here.cancellations()) == ("s", "client")


# What is left behind


async def test_everything_of_a_stream_is_gone_after_its_retention_and_its_place_in_the_list_too(nodes: Nodes) -> None:
    for number in range(30):
        lease = await nodes.here.acquire(f"s{number}", "ann", b"{}", TTL)
        await nodes.here.append(lease, 0, tokens(0, 1))
        await nodes.here.finish(lease, end_of_stream(1))
    await nodes.here.acquire("live", "ann", b"{}", TTL)
    nodes.pass_time(RETENTION + 1)
    assert nodes.server.ask("ZCARD", "headrace:owner:ann") == 31
    while await nodes.here.tidy():
        pass
    left = nodes.server.ask("ZCARD", "headrace:owner:ann")
    assert left < 31
    assert [info.id for info in await nodes.there.list("ann", None, None, 10)] == ["live"]
    keys = set(nodes.server.ask("KEYS", "*"))
    assert keys == {"headrace:owner:ann", "headrace:running"} | {
        f"headrace:{{live}}:{end}" for end in ("meta", "request")
    }
    assert nodes.server.ask("ZCARD", "headrace:owner:ann") == 1


async def test_a_stream_whose_producer_never_comes_back_is_forgotten_here_and_one_that_does_is_not(
    nodes: Nodes,
) -> None:
    lease = await nodes.here.acquire("s", "ann", b"{}", TTL)
    nodes.pass_time(TTL + 61)
    await until_looked(nodes, lambda: nodes.here._feeds.get("s") is None)
    await nodes.here.append(lease, 0, tokens(0, 1))
    await nodes.here.renew(lease, TTL)
    await nodes.there.request_cancel("s", "client")
    assert await anext(nodes.here.cancellations()) == ("s", "client")
    assert await log_of(nodes.here) == tokens(0, 1)
