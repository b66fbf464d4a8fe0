"""Every stream ends once, whatever happens to it, and readers that come and go change nothing."""

import asyncio
from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel
import pytest

from headrace import errors
from headrace.engine.clock import FakeClock
from headrace.errors import Fenced, HeadraceError, LogFull, NotFound, StoreError
from headrace.events import Cancelled, Chunk, Failed, Finished, Record, TextDelta, Usage
from headrace.stores.base import Lease
from tests.engine.rig import (
    CANCEL,
    OPENING,
    OWNER,
    Call,
    Connection,
    Rig,
    marker,
    memory_store,
    node,
    read_all,
    relays,
    settle,
    terminals,
    words,
)
from tests.stores.waiting import WaitingStore

pytestmark = pytest.mark.anyio

UPSTREAM_ERRORS: list[HeadraceError] = [
    errors.UpstreamError("x"),
    errors.UpstreamAuth("x"),
    errors.UpstreamModelNotFound("x"),
    errors.UpstreamRejected("x", status=422),
    errors.UpstreamIncomplete("x"),
    errors.UpstreamProtocol("x"),
    errors.UpstreamUnavailable("x", retry_after=7),
    errors.UpstreamTimeout("x"),
    errors.RateLimited("x", retry_after=3),
]


async def _finish(rig: Rig, call: Call, stream_id: str) -> None:
    call.finish("length")


async def _marker_then_silence(rig: Rig, call: Call, stream_id: str) -> None:
    call.say(marker())
    await settle()
    rig.clock.advance(60)


async def _marker_then_error(rig: Rig, call: Call, stream_id: str) -> None:
    call.say(marker())
    call.fail(errors.UpstreamIncomplete("too late"))


async def _marker_then_more(rig: Rig, call: Call, stream_id: str) -> None:
    call.say(marker(), words("too late"))
    call.stop()


async def _stop_without_marker(rig: Rig, call: Call, stream_id: str) -> None:
    call.stop()


async def _defect(rig: Rig, call: Call, stream_id: str) -> None:
    call.fail(ZeroDivisionError())


async def _defect_at_close(rig: Rig, call: Call, stream_id: str) -> None:
    call.raise_at_close = ZeroDivisionError()
    call.finish()


async def _defect_at_close_of_a_cancel(rig: Rig, call: Call, stream_id: str) -> None:
    call.raise_at_close = ZeroDivisionError()
    await rig.engine.cancel(stream_id, OWNER)


async def _error_at_close_of_a_cancel(rig: Rig, call: Call, stream_id: str) -> None:
    call.raise_at_close = errors.UpstreamIncomplete("cut by us")
    await rig.engine.cancel(stream_id, OWNER)


async def _stray_cancellation(rig: Rig, call: Call, stream_id: str) -> None:
    call.fail(asyncio.CancelledError())


async def _malformed_events(rig: Rig, call: Call, stream_id: str) -> None:
    call.say([Chunk((TextDelta(99, "an item that never began"),))])
    call.finish(usage=None)


async def _cancel(rig: Rig, call: Call, stream_id: str) -> None:
    await rig.engine.cancel(stream_id, OWNER)
    await rig.engine.cancel(stream_id, OWNER)


async def _lost_lease(rig: Rig, call: Call, stream_id: str) -> None:
    relays(rig.engine)[stream_id].fail(Fenced("x"))


ENDINGS = [
    (_finish, Finished("length")),
    (_marker_then_silence, Finished("stop")),
    (_marker_then_error, Finished("stop")),
    (_marker_then_more, Finished("stop")),
    (_stop_without_marker, "internal_error"),
    (_defect, "internal_error"),
    (_defect_at_close, Finished("stop")),
    (_defect_at_close_of_a_cancel, Cancelled("client")),
    (_error_at_close_of_a_cancel, Cancelled("client")),
    (_stray_cancellation, "internal_error"),
    (_malformed_events, Finished("stop")),
    (_cancel, Cancelled("client")),
    (_lost_lease, "fenced"),
]


@pytest.mark.promise("P3")
@pytest.mark.parametrize("phase", ["queued", "before content", "middle"])
@pytest.mark.parametrize(("end", "expected"), ENDINGS, ids=[row[0].__name__ for row in ENDINGS])
async def test_every_way_to_end_writes_one_terminal_record(
    phase: str, end: Callable[..., object], expected: Finished | Cancelled | str
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            await settle()
            if phase != "queued":
                rig.call.say([OPENING])
            if phase == "middle":
                rig.call.say(words("a", "b"))
            await settle()
            await end(rig, rig.call, started.stream_id)  # pyright: ignore[reportGeneralTypeIssues]
            log = await read_all(started.subscription)
            assert len(terminals(log)) == 1
            assert log[-1].terminal is terminals(log)[0]
            assert [record.seq for record in log] == list(range(len(log)))
            terminal = log[-1].terminal
            if isinstance(expected, str):
                assert isinstance(terminal, Failed)
                assert terminal.code == expected
            else:
                assert terminal == expected
            await settle()
            assert rig.engine.refusal is None
            other = await rig.start()  # the engine lives on
            rig.provider.call(1).say([OPENING])
            rig.provider.call(1).finish()
            assert isinstance((await read_all(other.subscription))[-1].terminal, Finished)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("error", UPSTREAM_ERRORS, ids=lambda error: type(error).__name__)
async def test_an_upstream_error_keeps_its_code_status_and_advice_in_the_log(error: HeadraceError) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("a"))
            rig.call.fail(error)
            log = await read_all(started.subscription)
            assert terminals(log) == [
                Failed(error.error_code, error.message, error.may_retry, error.status, error.retry_after)
            ]


@pytest.mark.promise("P3")
async def test_a_stream_that_runs_at_shutdown_ends_as_failed() -> None:
    with anyio.fail_after(5):
        async with node(drain=False) as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("a"))
            await settle()
            started.subscription.close()
        log = await rig.records(started.stream_id)
        assert [event.code for event in terminals(log) if isinstance(event, Failed)] == ["server_shutdown"]
        with pytest.raises(errors.Overloaded):
            await rig.start()


@pytest.mark.promise("P3")
@pytest.mark.parametrize("limits", [{"max_stream_bytes": 2400}, {"max_bytes": 4000}])
async def test_a_full_log_ends_the_stream_with_what_fits(limits: dict[str, int]) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        async with node(memory_store(clock, **limits), clock) as rig:
            started = await rig.start()
            rig.call.say([OPENING], *([chunk] for chunk in words(*["x" * 100] * 50)))
            log = await read_all(started.subscription)
            assert [event.code for event in terminals(log) if isinstance(event, Failed)] == ["log_full"]
            assert len(log) > 3
            assert rig.history == ["asked", "closed"]


@pytest.mark.promise("P3")
async def test_a_stream_that_is_deleted_while_it_runs_closes_its_upstream() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("a"))
            await settle()
            await rig.engine.delete(started.stream_id, OWNER)
            assert rig.history == ["asked", "closed"]
            with pytest.raises(NotFound), started.subscription:
                await started.subscription.next()
                await started.subscription.next()


async def test_a_log_that_another_node_deletes_stops_its_relay() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            started.subscription.close()
            rig.call.say([OPENING], words("a"))
            await settle()
            await rig.store.delete(started.stream_id)
            rig.clock.advance(rig.config.lease_seconds)
            await settle()
            assert rig.history == ["asked", "closed"]


async def test_a_relay_that_lost_its_lease_writes_nothing_more() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("a"))
            await settle()
            size = (await store.status(started.stream_id)).next_seq
            clock._now += 11  # pyright: ignore[reportPrivateUsage] - this node stood still, and its lease ran out
            taken = await store.acquire(started.stream_id, OWNER, b"", 10)
            rig.made.discard(started.stream_id)  # its end is told by the node that writes it
            rig.call.say(words("b"))
            await settle()
            assert rig.history == ["asked", "closed"]
            assert (await store.status(started.stream_id)).next_seq == size
            await store.finish(taken, Record(size, 0, (Cancelled("client"),)))
            await read_all(started.subscription)
            assert rig.witness.ends == []


@pytest.mark.promise("P2")
async def test_readers_that_leave_change_nothing_for_the_others() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(CANCEL)
            leaving = [await rig.engine.subscribe(started.stream_id, OWNER) for _ in range(5)]
            cut = [Connection(cut_at=size) for size in (1, 50, 400)]
            async with anyio.create_task_group() as tasks:
                for connection in cut:
                    tasks.start_soon(
                        connection.serve, rig.streamed(await rig.engine.subscribe(started.stream_id, OWNER))
                    )
                rig.call.say([OPENING])
                for number, subscription in enumerate(leaving):
                    rig.call.say(words(f"{number}"))
                    await settle()
                    await subscription.next()
                    subscription.close()
                    subscription.close()
                await settle()
                assert rig.engine.readers(started.stream_id) == 1
                rig.call.finish()
            log = await read_all(started.subscription)
            assert "".join(e.text for r in log for e in r.events if isinstance(e, TextDelta)) == "01234"
            assert terminals(log) == [Finished("stop")]


class UnsureStore(WaitingStore):
    """As a store across a network: an append that is cut off may have happened, or not."""

    happens = True

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        if self.happens:
            await super().append(lease, first_seq, records)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        if not self.happens:
            await super().append(lease, first_seq, records)

    async def finish(self, lease: Lease, record: Record) -> None:
        await anyio.lowlevel.checkpoint()
        await super().finish(lease, record)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.parametrize("turns", range(8))
async def test_a_cancel_in_the_middle_of_an_append_leaves_a_whole_log(turns: int, happens: bool) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = UnsureStore(now=clock.wall)
        store.happens = happens
        async with node(store, clock) as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            await settle()
            rig.call.say(words("a", "b"))
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await rig.engine.cancel(started.stream_id, OWNER)
            log = await read_all(started.subscription)
            assert terminals(log) == [Cancelled("client")]
            assert [record.seq for record in log] == list(range(len(log)))


class FailingStore(WaitingStore):
    """Fails where it is told to."""

    failing = ""

    async def finish(self, lease: Lease, record: Record) -> None:
        if self.failing == "finish":
            raise StoreError("gone")
        if self.failing == "defect":
            raise ZeroDivisionError
        await super().finish(lease, record)

    async def extend(self, name: str, value: str, ttl: float) -> None:
        if self.failing == "extend":
            raise StoreError("gone")
        if self.failing == "defect after the end":
            raise ZeroDivisionError
        await super().extend(name, value, ttl)

    async def renew(self, lease: Lease, ttl: float) -> None:
        if self.failing == "renew":
            raise StoreError("gone")
        await super().renew(lease, ttl)


@pytest.mark.parametrize("failing", ["finish", "defect", "extend", "defect after the end", "renew"])
async def test_a_store_that_fails_one_stream_leaves_the_engine_running(failing: str) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = FailingStore(now=clock.wall)
        async with node(store, clock) as rig:
            started = await rig.start(key="k")
            started.subscription.close()
            rig.call.say([OPENING])
            await settle()
            store.failing = failing
            rig.clock.advance(rig.config.lease_seconds)
            await settle()
            rig.call.finish()
            await settle()
            store.failing = ""
            other = await rig.start()
            rig.provider.call(1).finish()
            assert terminals(await read_all(other.subscription)) == [Finished("stop")]


class FullAtStart(WaitingStore):
    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        raise LogFull("full")


async def test_a_stream_that_cannot_be_opened_leaves_nothing_behind() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = FullAtStart(now=clock.wall)
        async with node(store, clock) as rig:
            for _ in range(2):
                with pytest.raises(LogFull):
                    await rig.start(key="k")
            assert await rig.engine.list(OWNER, None, None, 10) == []
            assert rig.provider.asked == 0


@pytest.mark.promise("P28")
async def test_readers_see_a_record_only_after_the_store_took_it() -> None:
    class Slow(WaitingStore):
        gate: anyio.Event | None = None

        async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
            if self.gate is not None:
                await self.gate.wait()
            await super().append(lease, first_seq, records)

    with anyio.fail_after(5):
        clock = FakeClock()
        store = Slow(now=clock.wall)
        async with node(store, clock) as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            await settle()
            seen: list[Record] = []
            connection = Connection()
            async with anyio.create_task_group() as tasks:

                async def read() -> None:
                    seen.extend(await read_all(started.subscription))

                tasks.start_soon(read)
                tasks.start_soon(
                    connection.serve, rig.streamed(await rig.engine.subscribe(started.stream_id, OWNER), "text")
                )
                store.gate = anyio.Event()
                rig.call.say(words("a"), words("b"))
                await settle()
                assert connection.body == b""
                assert (await store.status(started.stream_id)).next_seq == 2
                store.gate.set()
                rig.call.finish()
            assert connection.clean
            assert len(seen) == 6


@pytest.mark.promise("P27")
@pytest.mark.parametrize(
    ("reported", "finish", "expected"),
    [
        (Usage(11, 22, 1, 2), True, Usage(11, 22, 1, 2)),
        (None, True, Usage(12, 3, source="estimated")),
        (None, False, Usage(12, 3, source="partial")),
    ],
)
async def test_usage_is_always_known_and_says_where_it_comes_from(
    reported: Usage | None, finish: bool, expected: Usage
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("The", " river", " runs"))
            if finish:
                rig.call.finish(usage=reported)
            else:
                await settle()
                started.subscription.close()  # also when nobody reads
                await rig.engine.cancel(started.stream_id, OWNER)
            await settle()
            answer = await rig.engine.answer(started.stream_id)
            assert answer.usage == expected
            started.subscription.close()


@pytest.mark.promise("P27")
async def test_a_count_from_the_middle_of_a_cut_stream_is_partial() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], [Chunk((Usage(40, 1, cached=30),))], words("The", " river", " runs"))
            rig.call.fail(errors.UpstreamIncomplete("x"))
            await read_all(started.subscription)
            answer = await rig.engine.answer(started.stream_id)
            assert answer.usage == Usage(40, 3, cached=30, source="partial")
