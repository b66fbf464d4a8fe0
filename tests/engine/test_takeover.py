"""Streams whose producer is gone get their end from another node: once, in time, and whatever the store does."""

import logging
from collections.abc import Sequence
from typing import Literal

import anyio
import pytest

from headrace.engine.clock import FakeClock
from headrace.engine.engine import Load
from headrace.engine.takeover import LOOK
from headrace.errors import NotFound, StoreError
from headrace.events import (
    Cancelled,
    Event,
    Failed,
    ItemStart,
    Record,
    StepStart,
    StreamStart,
    TextDelta,
    Usage,
)
from headrace.stores.base import Lease, StreamInfo, StreamStore
from headrace.stores.memory import MemoryStore
from tests.engine.rig import OWNER, SOURCE, Rig, memory_store, node, read_all, settle, terminals, words
from tests.stores.outages import OutageStore

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P3")]

LEASE = 10.0
BODY = b'{"model":"demo","messages":[{"role":"user","content":"12345678"}],"stream":true}'
STEP = StepStart("scripted", "upstream-model", "openai.chat", "up-1")
BEGUN: tuple[tuple[Event, ...], ...] = ((STEP, ItemStart(0, "text")), (TextDelta(0, "Once"),), (TextDelta(0, " upon"),))


async def leave_behind(
    store: StreamStore, *records: tuple[Event, ...], stream_id: str = "s", body: bytes = BODY, model: str = "demo"
) -> Lease:
    """A stream whose producer writes these and is not heard of any more."""
    start = StreamStart(stream_id, OWNER, 1_000_000_000, model, "openai.chat", input_tokens=2)
    lease = await store.acquire(stream_id, OWNER, body, LEASE)
    written = [Record(seq, 0, events) for seq, events in enumerate([(start,), *records])]
    await store.append(lease, 0, written)
    return lease


async def passes(rig: Rig, seconds: float) -> None:
    """Time, with all looks in between."""
    for _ in range(round(seconds / LOOK)):
        rig.clock.advance(LOOK)
        await settle()


async def the_end(rig: Rig, stream_id: str = "s") -> tuple[Event, ...]:
    """What the last record says; there is one terminal in the log."""
    records = await rig.records(stream_id)
    assert len(terminals(records)) == 1
    return records[-1].events


async def test_a_stream_whose_producer_died_fails_within_its_lease_and_a_second_and_is_told_once() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as here, node(store, clock) as there:
            await leave_behind(store, *BEGUN)
            reader = await here.engine.subscribe("s", OWNER)
            await passes(here, LEASE - LOOK)
            assert (await store.status("s")).state == "running"
            await passes(here, 2 * LOOK)
            usage, failed = await the_end(here)
            assert isinstance(failed, Failed)
            assert (failed.code, failed.retryable, failed.status) == ("producer_lost", True, 503)
            assert isinstance(usage, Usage)
            assert (usage.input, usage.source) == (2, "partial") and usage.output > 0
            assert [record.seq for record in await read_all(reader)] == [0, 1, 2, 3, 4]
            (told,) = here.witness.ends + there.witness.ends
            assert (told.start.id, told.source, told.terminal, told.ttft) == ("s", SOURCE, failed, None)
            assert (told.records, told.usage, told.upstream_model) == (5, usage, "upstream-model")
            assert told.duration == LEASE
            assert here.engine.load == there.engine.load == Load(0, 0, 0, 0)


async def test_one_that_somebody_asked_to_stop_ends_as_cancelled() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await leave_behind(rig.store, *BEGUN)
            await rig.store.request_cancel("s", "client")
            await settle()
            await passes(rig, LEASE + 1)
            assert (await the_end(rig))[-1] == Cancelled("client")


async def test_one_that_nobody_has_heard_of_goes_without_a_trace() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await rig.store.acquire("s", OWNER, BODY, LEASE)
            await passes(rig, LEASE + 1)
            assert await rig.store.list(OWNER, None, None, 10) == []
            assert rig.witness.ends == []


async def test_more_than_one_look_takes_are_taken_at_once() -> None:
    with anyio.fail_after(20):
        async with node() as rig:
            for number in range(250):
                await leave_behind(rig.store, stream_id=f"s{number}")
            await passes(rig, LEASE - LOOK)
            assert rig.witness.ends == []
            await passes(rig, LOOK)
            assert len(rig.witness.ends) == 250
            assert await rig.store.abandoned(1) == []


class Slow(MemoryStore):
    """Every end of a stream takes a while."""

    clock: FakeClock

    async def finish(self, lease: Lease, record: Record) -> None:
        self.clock.advance(0.1)
        await super().finish(lease, record)


async def test_the_time_that_many_streams_take_is_no_silence_of_the_store() -> None:
    with anyio.fail_after(20):
        clock = FakeClock()
        store = Slow(now=clock.wall)
        store.clock = clock
        async with node(store, clock) as rig:
            for number in range(150):
                await leave_behind(store, stream_id=f"s{number}")
            await passes(rig, LEASE + LOOK)
            assert len(rig.witness.ends) == 150


class Counting(MemoryStore):
    """It says how often it was asked, and has had enough after a while."""

    asked = 0

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        self.asked += 1
        if self.asked > 100:
            raise StoreError("enough")
        return await super().abandoned(limit)


async def test_a_node_that_leaves_all_it_finds_to_others_does_not_look_without_end() -> None:
    with anyio.fail_after(20):
        clock = FakeClock()
        store = Counting(now=clock.wall)
        async with node(store, clock, on_producer_loss="continue") as rig:
            for number in range(100):
                await leave_behind(store, *BEGUN, stream_id=f"s{number}")
            await rig.engine.drain(0)
            await passes(rig, LEASE + LOOK)
            assert store.asked < 50


async def test_after_a_silence_of_the_store_producers_that_live_come_back_first() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = OutageStore(now=clock.wall)
        async with node(store, clock) as here, node(store, clock) as there:
            started = await here.start()
            here.call.say([*words()], words("a"))
            await settle()
            await leave_behind(store, *BEGUN)
            store.go()
            await passes(here, LEASE + 5)
            store.come_back()
            assert len(await store.abandoned(10)) == 2
            await passes(there, LEASE - LOOK)
            assert {info.id for info in await store.abandoned(10)} == {"s"}
            await passes(there, 2 * LOOK)
            assert (await store.status("s")).state == "failed"
            here.call.finish()
            await settle()
            assert (await store.status(started.stream_id)).state == "finished"
            await read_all(started.subscription)


async def test_a_store_that_hung_and_says_nothing_of_it_is_a_silence_too() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await leave_behind(rig.store, *BEGUN)
            rig.clock.advance(LEASE + 5)
            await settle()
            await passes(rig, LEASE - LOOK)
            assert (await rig.store.status("s")).state == "running"
            await passes(rig, 2 * LOOK)
            assert (await rig.store.status("s")).state == "failed"


async def test_a_node_that_stood_still_goes_on_with_its_own_streams() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([*words()], words("a"))
            await settle()
            rig.clock._now += LEASE + 1  # pyright: ignore[reportPrivateUsage] - no timer ran
            assert [info.id for info in await rig.store.abandoned(10)] == [started.stream_id]
            rig.clock.advance(LOOK)
            await settle()
            rig.call.say(words("b"))
            rig.call.finish()
            assert (await read_all(started.subscription))[-1].events[-1].reason == "stop"  # pyright: ignore


async def test_who_stood_still_while_another_node_ended_its_stream_tells_nothing() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as slow, node(store, clock) as there:
            started = await slow.start()
            slow.made.clear()
            slow.call.say(words("a"))
            await settle()
            slow.engine._leases._store = Refusing()  # pyright: ignore - no renewals
            await passes(there, LEASE + 1)
            assert (await store.status(started.stream_id)).state == "failed"
            slow.call.say(words("b"))
            await settle()
            assert slow.history == ["asked", "closed"]
            await read_all(started.subscription)
            assert slow.witness.ends == [] and len(there.witness.ends) == 1


class Refusing:
    """A store that this node cannot reach."""

    problem = None

    async def renew(self, lease: Lease, ttl: float) -> None:
        raise StoreError("out of reach")

    async def tidy(self) -> bool:
        return False


async def test_a_node_that_drains_still_ends_what_others_left() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await leave_behind(rig.store, *BEGUN)
            await rig.engine.drain(0)
            await passes(rig, LEASE + 1)
            assert (await the_end(rig))[-1].code == "producer_lost"  # pyright: ignore[reportAttributeAccessIssue]


async def test_one_that_was_not_to_be_stored_goes_after_its_grace() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await leave_behind(rig.store, *BEGUN, body=b"")
            await passes(rig, LEASE + 1)
            assert (await rig.store.status("s")).state == "failed"
            await passes(rig, 31)
            with pytest.raises(NotFound):
                await rig.store.status("s")


class Unreadable(MemoryStore):
    """One log has what nobody understands."""

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        if stream_id == "unreadable" and (await self.status(stream_id)).state == "running":
            raise ZeroDivisionError
        return await super().read(stream_id, after, limit)


@pytest.mark.parametrize("on_loss", ["fail", "continue"])
async def test_a_log_that_cannot_be_read_or_continued_is_ended_like_the_others(
    on_loss: Literal["fail", "continue"], caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = Unreadable(now=clock.wall)
        async with node(store, clock, on_producer_loss=on_loss) as rig:
            await leave_behind(store, *BEGUN, stream_id="unreadable")
            start = StreamStart("foreign", OWNER, 1_000_000_000, "demo", "of.another.release")
            lease = await store.acquire("foreign", OWNER, BODY, LEASE)
            await store.append(lease, 0, [Record(0, 0, (start,)), Record(1, 0, BEGUN[0])])
            await passes(rig, LEASE + 1)
            for stream_id in ("unreadable", "foreign"):
                assert (await the_end(rig, stream_id))[-1].code == "producer_lost"  # pyright: ignore
            assert sorted(told.start.id for told in rig.witness.ends) == ["foreign", "unreadable"]


class Failing(MemoryStore):
    """Every question fails while it is out."""

    out = False

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        if self.out:
            raise StoreError("out of reach")
        return await super().abandoned(limit)


class Broken(MemoryStore):
    """What nobody expects."""

    out = False

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        if self.out:
            raise ZeroDivisionError
        return await super().abandoned(limit)


class Unwilling(MemoryStore):
    """It says who is abandoned, and lets nobody end them."""

    out = False

    async def finish(self, lease: Lease, record: Record) -> None:
        if self.out:
            raise StoreError("out of reach")
        await super().finish(lease, record)


@pytest.mark.parametrize("kind", [Failing, Unwilling, Broken])
async def test_an_outage_of_the_store_is_logged_once_and_the_search_goes_on(
    kind: type[Failing] | type[Unwilling] | type[Broken], caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = kind(now=clock.wall)
        async with node(store, clock) as rig:
            await leave_behind(store, *BEGUN)
            store.out = True
            await passes(rig, LEASE + 1)
            assert (await store.status("s")).state == "running"
            if kind is not Unwilling:
                await passes(rig, LEASE)
            logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(logged) == 1
            assert "defect" in logged[0].getMessage() if kind is Broken else "out of reach" in logged[0].getMessage()
            store.out = False
            await passes(rig, 2 * LEASE)
            assert (await the_end(rig))[-1].code == "producer_lost"  # pyright: ignore[reportAttributeAccessIssue]
            assert len(rig.witness.ends) == 1
