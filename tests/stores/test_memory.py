import sys
import tracemalloc
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InternalError, LogFull, NotFound, Overloaded
from headrace.events import (
    ArgsDelta,
    Attrs,
    Event,
    Failed,
    ObjectValue,
    Record,
    Signature,
    Status,
    StreamStart,
    TextDelta,
    ToolResult,
)
from headrace.stores.base import Lease
from headrace.stores.memory import MemoryStore
from tests.stores.contract import *  # noqa: F403 - the tests that every store passes
from tests.stores.contract import (
    EVERYTHING,
    RETENTION,
    START_MS,
    STREAM_LIMIT,
    TTL,
    Clock,
    Rig,
    end_of_stream,
    let_others_run,
    token,
    tokens,
)

T = TypeVar("T")
KILOBYTE = "x" * 1024


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rig(clock: Clock) -> Rig:
    store = MemoryStore(now=clock, retention=RETENTION, max_stream_bytes=STREAM_LIMIT)
    return Rig(store, clock.advance)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("it suspended")


def small_store(clock: Clock, max_bytes: int = 16 * 1024) -> MemoryStore:
    return MemoryStore(now=clock, retention=RETENTION, max_bytes=max_bytes)


def begin(store: MemoryStore, stream_id: str, kilobytes: int = 0, owner: str = "ann") -> Lease:
    lease = at_once(store.acquire(stream_id, owner, b"{}", TTL))
    for seq in range(kilobytes):
        at_once(store.append(lease, seq, [token(seq, KILOBYTE)]))
    return lease


def begin_and_end(store: MemoryStore, stream_id: str, kilobytes: int = 0) -> None:
    lease = begin(store, stream_id, kilobytes)
    at_once(store.finish(lease, end_of_stream(kilobytes)))


def listed(store: MemoryStore, owner: str = "ann") -> list[str]:
    return [info.id for info in at_once(store.list(owner, None, None, EVERYTHING))]


async def next_cancellation(store: MemoryStore) -> tuple[str, str]:
    return await anext(store.cancellations())


def traced() -> int:
    return tracemalloc.get_traced_memory()[0]


# Atomicity


def test_nothing_but_waiting_for_what_is_not_there_suspends(clock: Clock) -> None:
    store = small_store(clock)
    lease = begin(store, "s", 1)
    at_once(store.renew(lease, TTL))
    at_once(store.read("s", -1, 10))
    at_once(store.wait("s", -1))
    at_once(store.status("s"))
    at_once(store.request("s"))
    at_once(store.list("ann", None, None, 10))
    at_once(store.claim("key", "one", TTL))
    at_once(store.extend("key", "one", TTL))
    at_once(store.release("key", "one"))
    at_once(store.request_cancel("s", "client"))
    at_once(next_cancellation(store))
    at_once(store.finish(lease, end_of_stream(1)))
    at_once(store.wait("s", 1))
    at_once(store.delete("s"))
    at_once(store.close())


# Waiting


@pytest.mark.promise("P23")
@pytest.mark.anyio
async def test_a_batch_wakes_a_reader_once_and_a_reader_that_is_behind_not_at_all(clock: Clock) -> None:
    store = small_store(clock)
    lease = begin(store, "s")
    read: list[int] = []

    async def reader() -> None:
        position = -1
        while position < 29:
            await store.wait("s", position)
            records = await store.read("s", position, EVERYTHING)
            position = records[-1].seq
            read.append(len(records))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            await let_others_run()
            await store.append(lease, 0, tokens(0, 10))
            await let_others_run()
            await store.append(lease, 10, tokens(10, 20))
            await store.append(lease, 20, tokens(20, 30))
    assert read == [10, 20]


@pytest.mark.anyio
async def test_readers_that_gave_up_leave_nothing_behind(clock: Clock) -> None:
    store = small_store(clock)
    lease = begin(store, "s")

    async def give_up() -> None:
        with anyio.move_on_after(0):
            await store.wait("s", -1)

    await give_up()  # what the first use of everything allocates stays out of the count
    tracemalloc.start()
    try:
        before = traced()
        for _ in range(1000):
            await give_up()
        grown = traced() - before
    finally:
        tracemalloc.stop()
    assert grown < 1000 * 32
    await store.append(lease, 0, tokens(0, 1))


@pytest.mark.anyio
async def test_a_stream_that_comes_back_under_its_id_is_another_one(clock: Clock) -> None:
    store = small_store(clock)
    old = begin(store, "s")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:

            async def reader() -> None:
                with pytest.raises(NotFound):
                    await store.wait("s", -1)

            group.start_soon(reader)
            await let_others_run()
            await store.delete("s")
            assert begin(store, "s", 1).epoch > old.epoch


@pytest.mark.anyio
async def test_closing_lets_everybody_go(clock: Clock) -> None:
    store = small_store(clock)
    begin(store, "s")
    await store.request_cancel("s", "client")
    await store.claim("key", "one", TTL)
    cancellations = store.cancellations()
    assert await anext(cancellations) == ("s", "client")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:

            async def reader() -> None:
                with pytest.raises(NotFound):
                    await store.wait("s", -1)

            async def engine() -> None:
                with pytest.raises(StopAsyncIteration):
                    await anext(cancellations)

            group.start_soon(reader)
            group.start_soon(engine)
            await let_others_run()
            await store.close()
    await store.close()
    assert listed(store) == []
    assert await store.claim("key", "two", TTL) == "two"


# Limits


@pytest.mark.promise("P24")
def test_the_streams_that_ended_first_make_room_and_running_ones_never(clock: Clock) -> None:
    store = small_store(clock)
    begin(store, "running", 3)
    late = begin(store, "late", 3)
    begin_and_end(store, "early", 3)
    at_once(store.finish(late, end_of_stream(3)))
    begin(store, "new", 3)
    assert listed(store) == ["new", "late", "running"]
    begin(store, "newest", 3)
    assert listed(store) == ["newest", "new", "running"]


@pytest.mark.promise("P24")
def test_without_room_streams_are_refused_but_end_in_order(clock: Clock) -> None:
    store = small_store(clock)
    lease = begin(store, "s")
    with pytest.raises(LogFull) as full:
        for seq in range(100):
            at_once(store.append(lease, seq, [token(seq, KILOBYTE)]))
    assert full.value.may_retry
    with pytest.raises(Overloaded):
        at_once(store.acquire("other", "ann", b"x" * 2048, TTL))
    records = at_once(store.status("s")).next_seq
    assert 10 < records < 16
    at_once(store.finish(lease, end_of_stream(records, Failed("log_full", KILOBYTE * 20))))
    assert len(at_once(store.read("s", -1, EVERYTHING))) == records + 1
    begin(store, "other")
    assert listed(store) == ["other"]


@pytest.mark.promise("P24")
def test_an_end_that_passes_the_limit_makes_room_too(clock: Clock) -> None:
    store = small_store(clock)
    begin_and_end(store, "ended", 4)
    lease = begin(store, "running", 6)
    at_once(store.finish(lease, end_of_stream(6, Failed("log_full", KILOBYTE * 4))))
    assert listed(store) == ["running"]


@pytest.mark.promise("P24")
def test_what_can_never_fit_evicts_nothing(clock: Clock) -> None:
    store = small_store(clock)
    begin_and_end(store, "ended", 2)
    lease = begin(store, "running", 2)
    with pytest.raises(LogFull):
        at_once(store.append(lease, 2, [token(2, KILOBYTE * 20)]))
    with pytest.raises(Overloaded):
        at_once(store.acquire("big", "ann", b"x" * 20_000, TTL))
    assert listed(store) == ["running", "ended"]


@pytest.mark.promise("P24")
def test_a_stream_over_its_own_limit_evicts_nothing(clock: Clock) -> None:
    store = MemoryStore(now=clock, max_stream_bytes=4 * 1024, max_bytes=8 * 1024)
    begin_and_end(store, "ended", 2)
    lease = begin(store, "running", 2)
    with pytest.raises(LogFull) as full:
        at_once(store.append(lease, 2, [token(2, KILOBYTE * 3)]))
    assert not full.value.may_retry
    assert listed(store) == ["running", "ended"]


def fill(store: MemoryStore, name: str, kilobytes: int) -> Lease | None:
    """A running stream, or nothing when the store refused any part of it."""
    try:
        return begin(store, name, kilobytes)
    except LogFull:
        at_once(store.delete(name))
    except Overloaded:
        pass
    return None


@pytest.mark.promise("P24")
@given(st.lists(st.tuples(st.sampled_from(["run", "end", "delete", "expire"]), st.integers(0, 4)), max_size=60))
def test_the_limit_holds_and_all_room_comes_back(history: list[tuple[str, int]]) -> None:
    clock = Clock()
    store = small_store(clock)
    running: dict[str, Lease] = {}
    for number, (kind, kilobytes) in enumerate(history):
        if kind == "expire":
            clock.now += RETENTION / 3
        elif kind == "delete" and running:
            at_once(store.delete(running.popitem()[0]))
        elif lease := fill(store, f"s{number}", kilobytes):
            running[lease.id] = lease
            if kind == "end":
                at_once(store.finish(running.pop(lease.id), end_of_stream(kilobytes)))
        found = at_once(store.list("ann", None, None, EVERYTHING))
        assert sum(info.bytes for info in found) <= 17 * 1024  # the end of a stream may pass the limit
        assert {info.id for info in found if info.state == "running"} == set(running)
    for name in running:
        at_once(store.delete(name))
    lease = begin(store, "whole")
    at_once(store.append(lease, 0, [token(0, KILOBYTE * 15)]))


# What runs out is given back


def test_expired_streams_give_their_memory_back_without_being_asked_for(clock: Clock) -> None:
    store = MemoryStore(now=clock, retention=RETENTION)
    text = "".join(["to", "ken"])
    references = sys.getrefcount(text)
    for number in range(50):
        lease = begin(store, f"s{number}")
        at_once(store.append(lease, 0, [token(0, text)]))
        at_once(store.finish(lease, end_of_stream(1)))
    assert sys.getrefcount(text) == references + 50
    clock.now += RETENTION
    begin(store, "new")
    assert sys.getrefcount(text) == references
    assert listed(store) == ["new"]


def test_owners_that_have_no_stream_left_are_forgotten(clock: Clock) -> None:
    store = small_store(clock)
    tracemalloc.start()
    try:
        before = traced()
        for number in range(1000):
            begin(store, "s", owner=f"owner{number}")
            at_once(store.delete("s"))
        grown = traced() - before
    finally:
        tracemalloc.stop()
    assert grown < 1000 * 64


def test_an_expired_id_is_free_again(clock: Clock) -> None:
    store = small_store(clock)
    begin_and_end(store, "s", 1)
    clock.now += RETENTION
    lease = begin(store, "s")
    assert lease.next_seq == 0


def test_a_clock_that_was_set_back_hides_no_stream_behind_a_later_one(clock: Clock) -> None:
    store = small_store(clock)
    begin_and_end(store, "before")
    clock.now -= 600
    begin_and_end(store, "after")
    clock.now += RETENTION
    with pytest.raises(NotFound):
        at_once(store.status("after"))
    assert listed(store) == ["before"]


def test_expired_claims_do_not_pile_up_behind_living_ones(clock: Clock) -> None:
    store = small_store(clock)
    for number in range(1000):
        at_once(store.claim(f"long{number}", "v", 10 * RETENTION))
    tracemalloc.start()
    try:
        before = traced()
        for number in range(20_000):
            clock.now += 1
            at_once(store.claim(f"short{number}", "v", TTL))
        grown = traced() - before
    finally:
        tracemalloc.stop()
    assert grown < 2000 * 400
    assert at_once(store.claim("long0", "w", TTL)) == "v"


def test_cancel_requests_that_nobody_fetches_go_with_their_streams(clock: Clock) -> None:
    store = small_store(clock)
    for stream_id in ("ended", "deleted", "live"):
        lease = begin(store, stream_id)
        at_once(store.request_cancel(stream_id, "client"))
        if stream_id == "ended":
            at_once(store.finish(lease, end_of_stream(0)))
    at_once(store.delete("deleted"))
    assert at_once(next_cancellation(store)) == ("live", "client")


# Accounting


def test_the_bytes_of_a_token_log_are_what_python_allocates(clock: Clock) -> None:
    store = MemoryStore(now=clock)
    lease = begin(store, "s")
    tracemalloc.start()
    try:
        before = traced()
        for seq in range(0, 4096, 8):
            at_once(store.append(lease, seq, [token(n, f"tok{n % 10}") for n in range(seq, seq + 8)]))
        allocated = traced() - before
    finally:
        tracemalloc.stop()
    assert at_once(store.status("s")).bytes == pytest.approx(allocated, rel=0.15)


BIG = "x" * 5000
RAW = msgspec.Raw(b"1" * 5000)


@pytest.mark.parametrize(
    "event",
    [
        TextDelta(0, BIG),
        TextDelta(0, "a", logprobs=RAW),
        ArgsDelta(0, BIG),
        Signature(0, BIG),
        ToolResult("call", [{"a": BIG}]),
        ToolResult("call", {BIG: None}),
        ObjectValue(0, {"a": [BIG]}),
        Attrs({"a": (RAW,)}),
        Status("retrying", BIG),
        StreamStart("s", "ann", 1, "m", "d", meta={"a": BIG}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_whatever_an_event_carries_counts(clock: Clock, event: Event) -> None:
    store = small_store(clock)
    lease = begin(store, "s")
    at_once(store.append(lease, 0, [Record(0, START_MS, (event,))]))
    assert 5000 <= at_once(store.status("s")).bytes <= 6500


def test_the_raw_frame_counts(clock: Clock) -> None:
    store = small_store(clock)
    lease = begin(store, "s")
    at_once(store.append(lease, 0, [Record(0, START_MS, (), RAW)]))
    assert 5000 <= at_once(store.status("s")).bytes <= 5500


def test_values_nested_beyond_the_recursion_limit_are_weighed(clock: Clock) -> None:
    store = MemoryStore(now=clock)
    lease = begin(store, "s")
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    at_once(store.append(lease, 0, [Record(0, START_MS, (ToolResult("call", value),))]))
    assert at_once(store.status("s")).bytes > 5000 * 50


# Misuse


def test_a_stream_does_not_end_with_a_record_that_is_not_an_end(clock: Clock) -> None:
    store = small_store(clock)
    lease = begin(store, "s")
    with pytest.raises(InternalError):
        at_once(store.finish(lease, token(0)))
    assert at_once(store.status("s")).state == "running"
