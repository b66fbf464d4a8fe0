"""What every store must do, as tests. A store joins with one file: a fixture `rig`, and these tests imported.

    from tests.stores.contract import *  # noqa: F403

The fixture gives a `Rig` with an empty store that has `RETENTION` and `STREAM_LIMIT`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import Fenced, LeaseHeld, LogFull, NotFound, SequenceGap
from headrace.events import Cancelled, Failed, Finished, ItemStart, Record, Terminal, TextDelta, ToolResult, Usage
from headrace.stores.base import Lease, StreamState, StreamStore

RETENTION = 3600.0
STREAM_LIMIT = 64 * 1024
TTL = 10.0
START_MS = 1_700_000_000_000
"""Where the rig's clock starts."""
EVERYTHING = 10_000


@dataclass(frozen=True)
class Rig:
    """A store and its clock: `advance` lets seconds pass for leases, claims and retention."""

    store: StreamStore
    advance: Callable[[float], Awaitable[None]]


class Clock:
    """Wall time in seconds that moves only when told."""

    def __init__(self) -> None:
        self.now = START_MS / 1000

    def __call__(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds


def token(seq: int, text: str = "") -> Record:
    return Record(seq, START_MS + seq, (TextDelta(0, text or f"t{seq}"),))


def tokens(first: int, end: int) -> list[Record]:
    return [token(seq) for seq in range(first, end)]


def end_of_stream(seq: int, terminal: Terminal | None = None) -> Record:
    return Record(seq, START_MS + seq, (Usage(3, 5), terminal or Finished("stop")))


async def create(rig: Rig, stream_id: str = "s", owner: str = "ann", records: int = 0) -> Lease:
    lease = await rig.store.acquire(stream_id, owner, b"{}", TTL)
    if records:
        await rig.store.append(lease, 0, tokens(0, records))
    return lease


async def create_ended(rig: Rig, stream_id: str = "s", owner: str = "ann", terminal: Terminal | None = None) -> Lease:
    lease = await create(rig, stream_id, owner, records=1)
    await rig.store.finish(lease, end_of_stream(1, terminal))
    return lease


async def whole_log(rig: Rig, stream_id: str = "s") -> list[Record]:
    return list(await rig.store.read(stream_id, -1, EVERYTHING))


async def ids(rig: Rig, owner: str = "ann", state: StreamState | None = None, before: str | None = None) -> list[str]:
    return [info.id for info in await rig.store.list(owner, state, before, EVERYTHING)]


async def let_others_run() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


# Life of a stream


@pytest.mark.anyio
async def test_a_new_stream_is_empty_and_running(rig: Rig) -> None:
    lease = await rig.store.acquire("s", "ann", b'{"model":"m"}', TTL)
    assert (lease.id, lease.next_seq) == ("s", 0)
    info = await rig.store.status("s")
    assert (info.id, info.owner, info.state, info.next_seq) == ("s", "ann", "running", 0)
    assert info.created_ms == pytest.approx(START_MS, abs=60_000)
    assert info.ended_ms is None
    assert await whole_log(rig) == []
    assert await rig.store.request("s") == b'{"model":"m"}'


@pytest.mark.anyio
async def test_every_question_about_an_unknown_stream_is_not_found(rig: Rig) -> None:
    ghost = Lease("ghost", 1, 0)
    for question in (
        lambda: rig.store.renew(ghost, TTL),
        lambda: rig.store.append(ghost, 0, tokens(0, 1)),
        lambda: rig.store.finish(ghost, end_of_stream(0)),
        lambda: rig.store.read("ghost", -1, 1),
        lambda: rig.store.wait("ghost", -1),
        lambda: rig.store.status("ghost"),
        lambda: rig.store.request("ghost"),
        lambda: rig.store.list("ann", None, "ghost", 1),
        lambda: rig.store.delete("ghost"),
        lambda: rig.store.request_cancel("ghost", "client"),
    ):
        with pytest.raises(NotFound):
            await question()


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("terminal", "state"),
    [
        (Finished("length"), "finished"),
        (Failed("upstream_timeout", "No token for 120 s."), "failed"),
        (Cancelled("client"), "cancelled"),
    ],
)
@pytest.mark.anyio
async def test_the_terminal_record_is_the_last_and_decides_the_state(
    rig: Rig, terminal: Terminal, state: StreamState
) -> None:
    lease = await create(rig, records=2)
    await rig.advance(5)
    await rig.store.finish(lease, end_of_stream(2, terminal))
    assert await whole_log(rig) == [*tokens(0, 2), end_of_stream(2, terminal)]
    info = await rig.store.status("s")
    assert (info.state, info.next_seq) == (state, 3)
    assert info.ended_ms is not None
    assert info.ended_ms >= info.created_ms


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_the_first_terminal_record_stays_the_only_one(rig: Rig) -> None:
    lease = await create_ended(rig)
    await rig.store.finish(lease, end_of_stream(1))
    await rig.store.finish(lease, end_of_stream(2, Cancelled("client")))
    assert await whole_log(rig) == [token(0), end_of_stream(1)]
    assert (await rig.store.status("s")).state == "finished"


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_nothing_follows_the_end(rig: Rig) -> None:
    lease = await create_ended(rig)
    with pytest.raises(Fenced):
        await rig.store.append(lease, 2, tokens(2, 3))
    with pytest.raises(Fenced):
        await rig.store.append(lease, 0, tokens(0, 1))
    with pytest.raises(Fenced):
        await rig.store.renew(lease, TTL)
    assert await whole_log(rig) == [token(0), end_of_stream(1)]


@pytest.mark.anyio
@pytest.mark.parametrize("seq", [1, 3])
async def test_an_end_at_another_place_than_the_next_is_refused(rig: Rig, seq: int) -> None:
    lease = await create(rig, records=2)
    with pytest.raises(SequenceGap):
        await rig.store.finish(lease, end_of_stream(seq))
    assert (await rig.store.status("s")).state == "running"
    await rig.store.finish(lease, end_of_stream(2))


@pytest.mark.anyio
async def test_an_ended_stream_vanishes_when_its_retention_is_over_however_often_it_is_read(rig: Rig) -> None:
    await create_ended(rig)
    await rig.advance(RETENTION - 1)
    assert len(await whole_log(rig)) == 2
    assert await ids(rig) == ["s"]
    await rig.advance(1)
    with pytest.raises(NotFound):
        await rig.store.read("s", -1, 1)
    with pytest.raises(NotFound):
        await rig.store.status("s")
    assert await ids(rig) == []


@pytest.mark.anyio
async def test_a_running_stream_outlives_the_retention(rig: Rig) -> None:
    lease = await create(rig, records=1)
    for _ in range(3):
        await rig.advance(RETENTION)
        await rig.store.renew(lease, TTL)
    assert len(await whole_log(rig)) == 1
    await rig.store.finish(lease, end_of_stream(1))
    await rig.advance(RETENTION - 1)
    assert len(await whole_log(rig)) == 2


@pytest.mark.anyio
async def test_a_deleted_stream_is_gone_for_readers_and_producer(rig: Rig) -> None:
    lease = await create(rig, records=1)
    await rig.store.delete("s")
    with pytest.raises(NotFound):
        await rig.store.read("s", -1, 1)
    with pytest.raises(NotFound):
        await rig.store.append(lease, 1, tokens(1, 2))
    with pytest.raises(NotFound):
        await rig.store.delete("s")
    assert await ids(rig) == []


# Leases


@pytest.mark.anyio
async def test_a_second_producer_is_refused_while_the_lease_lives(rig: Rig) -> None:
    lease = await create(rig)
    await rig.advance(TTL - 1)
    with pytest.raises(LeaseHeld):
        await rig.store.acquire("s", "ann", b"{}", TTL)
    await rig.store.append(lease, 0, tokens(0, 1))


@pytest.mark.anyio
async def test_appending_and_renewing_keep_the_lease(rig: Rig) -> None:
    lease = await create(rig)
    for seq in range(3):
        await rig.advance(TTL - 1)
        await rig.store.append(lease, seq, [token(seq)])
    await rig.advance(TTL - 1)
    await rig.store.renew(lease, 3 * TTL)
    await rig.advance(3 * TTL - 1)
    await rig.store.append(lease, 3, [token(3)])  # for as long as the last renewal said
    await rig.advance(3 * TTL - 1)
    with pytest.raises(LeaseHeld):
        await rig.store.acquire("s", "ann", b"{}", TTL)


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_after_the_lease_another_producer_ends_the_stream_and_the_first_is_fenced(rig: Rig) -> None:
    old = await rig.store.acquire("s", "ann", b"first", TTL)
    await rig.store.append(old, 0, tokens(0, 3))
    await rig.advance(TTL)
    new = await rig.store.acquire("s", "ann", b"second", TTL)
    assert (new.epoch, new.next_seq) == (old.epoch + 1, 3)
    assert await rig.store.request("s") == b"first"
    lost = end_of_stream(3, Failed("producer_lost", "The server that produced this answer is gone."))
    for _ in ("running", "ended"):
        with pytest.raises(Fenced):
            await rig.store.append(old, 3, tokens(3, 4))
        with pytest.raises(Fenced):
            await rig.store.renew(old, TTL)
        with pytest.raises(Fenced):
            await rig.store.finish(old, end_of_stream(3))
        await rig.store.finish(new, lost)
    assert await whole_log(rig) == [*tokens(0, 3), lost]


@pytest.mark.anyio
async def test_a_late_producer_goes_on_when_nobody_took_over(rig: Rig) -> None:
    lease = await create(rig, records=1)
    await rig.advance(2 * TTL)
    await rig.store.append(lease, 1, tokens(1, 2))
    with pytest.raises(LeaseHeld):
        await rig.store.acquire("s", "ann", b"{}", TTL)


@pytest.mark.anyio
async def test_an_ended_stream_is_not_taken_over(rig: Rig) -> None:
    await create_ended(rig)
    await rig.advance(2 * TTL)
    with pytest.raises(Fenced):
        await rig.store.acquire("s", "ann", b"{}", TTL)


@pytest.mark.promise("P32")
@pytest.mark.anyio
async def test_another_owner_cannot_take_a_stream_over_nor_learn_its_state(rig: Rig) -> None:
    await create(rig, "running")
    await create_ended(rig, "ended")
    for _ in ("held", "expired"):
        for stream_id in ("running", "ended"):
            with pytest.raises(NotFound):
                await rig.store.acquire(stream_id, "bob", b"{}", TTL)
        await rig.advance(2 * TTL)
    assert (await rig.store.status("running")).owner == "ann"


async def abandoned(rig: Rig, limit: int = EVERYTHING) -> set[str]:
    return {info.id for info in await rig.store.abandoned(limit)}


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_a_running_stream_is_abandoned_once_its_lease_has_run_out(rig: Rig) -> None:
    await create(rig, "new")
    written, kept = await create(rig, "written", records=1), await create(rig, "kept")
    for name in ("silent", "deleted"):
        await create(rig, name)
    await create_ended(rig, "ended")
    assert await abandoned(rig) == set()
    await rig.advance(TTL - 1)
    assert await abandoned(rig) == set()
    await rig.store.append(written, 1, tokens(1, 3))
    await rig.store.renew(kept, TTL)
    await rig.store.delete("deleted")
    await rig.advance(2)
    assert await abandoned(rig) == {"new", "silent"}
    (silent,) = [info for info in await rig.store.abandoned(EVERYTHING) if info.id == "silent"]
    assert (silent.owner, silent.state, silent.next_seq) == ("ann", "running", 0)
    await rig.advance(TTL)
    assert await abandoned(rig) == {"new", "silent", "written", "kept"}


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_who_takes_an_abandoned_stream_over_ends_it_and_it_is_found_no_more(rig: Rig) -> None:
    await create(rig, records=2)
    await rig.advance(TTL + 1)
    assert await abandoned(rig) == {"s"}
    lease = await rig.store.acquire("s", "ann", b"", TTL)
    assert await abandoned(rig) == set()
    await rig.advance(TTL + 1)
    assert await abandoned(rig) == {"s"}, "who took it over has died too"
    await rig.store.finish(lease, end_of_stream(2))
    assert await abandoned(rig) == set()


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_abandoned_streams_beyond_the_limit_come_when_the_first_have_ended(rig: Rig) -> None:
    alive = [await create(rig, f"alive{number}") for number in range(3)]
    await rig.advance(TTL / 2)
    for number in range(5):
        await create(rig, f"s{number}")
    await rig.advance(TTL / 2 - 1)
    for lease in alive:
        await rig.store.append(lease, 0, tokens(0, 1))  # which does not say when to look for it
    await rig.advance(TTL / 2 + 2)
    seen: set[str] = set()
    for _ in range(4):
        found = await rig.store.abandoned(2)
        assert len(found) <= 2
        for info in found:
            seen.add(info.id)
            lease = await rig.store.acquire(info.id, info.owner, b"", TTL)
            await rig.store.finish(lease, end_of_stream(lease.next_seq))
    assert seen == {f"s{number}" for number in range(5)}


# The log


@pytest.mark.promise("P28")
@pytest.mark.anyio
async def test_records_are_read_as_they_were_appended(rig: Rig) -> None:
    lease = await create(rig)
    records = [
        Record(0, START_MS, (ItemStart(0, "text"), TextDelta(0, "żółw 🐢 \r\n"))),
        Record(1, START_MS + 1, ()),
        Record(2, START_MS + 2, (ToolResult("call_1", {"rows": [1, None, "x"]}),)),
    ]
    await rig.store.append(lease, 0, records)
    assert await whole_log(rig) == records


@pytest.mark.anyio
async def test_a_read_starts_after_the_position_and_keeps_to_the_limit(rig: Rig) -> None:
    await create(rig, records=10)
    assert list(await rig.store.read("s", -1, 3)) == tokens(0, 3)
    assert list(await rig.store.read("s", 6, 100)) == tokens(7, 10)
    assert list(await rig.store.read("s", 9, 100)) == []
    assert list(await rig.store.read("s", 500, 100)) == []
    assert list(await rig.store.read("s", -7, 2)) == tokens(0, 2)


@pytest.mark.promise("P28")
@pytest.mark.anyio
async def test_what_was_read_does_not_change_with_later_appends(rig: Rig) -> None:
    lease = await create(rig, records=2)
    seen = await rig.store.read("s", -1, EVERYTHING)
    await rig.store.append(lease, 2, tokens(2, 4))
    assert list(seen) == tokens(0, 2)


@pytest.mark.anyio
async def test_the_same_seqs_again_change_nothing(rig: Rig) -> None:
    lease = await create(rig, records=4)
    before = await rig.store.status("s")
    await rig.store.append(lease, 0, tokens(0, 4))
    await rig.store.append(lease, 1, tokens(1, 3))
    await rig.store.append(lease, 4, [])
    assert await rig.store.status("s") == before


@pytest.mark.anyio
async def test_of_an_overlapping_batch_only_the_new_tail_is_appended(rig: Rig) -> None:
    lease = await create(rig, records=4)
    await rig.store.append(lease, 2, tokens(2, 7))
    assert await whole_log(rig) == tokens(0, 7)


@pytest.mark.anyio
async def test_a_gap_is_refused_and_leaves_the_log_as_it_was(rig: Rig) -> None:
    lease = await create(rig, records=2)
    with pytest.raises(SequenceGap):
        await rig.store.append(lease, 3, tokens(3, 4))
    with pytest.raises(SequenceGap):  # the records are not what first_seq says
        await rig.store.append(lease, 2, tokens(5, 7))
    assert await whole_log(rig) == tokens(0, 2)
    await rig.store.append(lease, 2, tokens(2, 3))


@pytest.mark.promise("P24")
@pytest.mark.anyio
async def test_a_full_log_refuses_the_whole_batch_but_never_the_end(rig: Rig) -> None:
    lease = await create(rig)
    kilobyte = "x" * 1024
    appended = 0
    with pytest.raises(LogFull):
        for seq in range(0, EVERYTHING, 2):
            await rig.store.append(lease, seq, [token(seq, kilobyte), token(seq + 1, kilobyte)])
            appended = seq + 2
    assert STREAM_LIMIT // 2 < appended * 1024 <= STREAM_LIMIT
    info = await rig.store.status("s")
    assert info.next_seq == appended
    assert appended * 1024 <= info.bytes <= STREAM_LIMIT
    last = end_of_stream(appended, Failed("log_full", "y" * STREAM_LIMIT))
    await rig.store.finish(lease, last)
    assert (await whole_log(rig))[-1] == last


@pytest.mark.promise("P4")
@pytest.mark.anyio
async def test_tidying_changes_nothing_that_can_be_read(rig: Rig) -> None:
    lease = await rig.store.acquire("ended", "ann", b'{"model":"m"}', TTL)
    records = [*tokens(0, 200), end_of_stream(200)]
    for first in range(0, 200, 50):
        await rig.store.append(lease, first, records[first : first + 50])
    await rig.store.finish(lease, records[-1])
    await create(rig, "running", records=3)
    before = await rig.store.status("ended")
    await rig.advance(RETENTION / 2)
    with anyio.fail_after(5):
        while await rig.store.tidy():
            assert list(await rig.store.read("ended", 98, 5)) == records[99:104]
    assert await whole_log(rig, "ended") == records
    assert await rig.store.request("ended") == b'{"model":"m"}'
    assert msgspec.structs.replace(await rig.store.status("ended"), bytes=before.bytes) == before
    assert await whole_log(rig, "running") == tokens(0, 3)
    await rig.store.wait("ended", 200)
    with pytest.raises(Fenced):
        await rig.store.append(lease, 201, tokens(201, 202))
    await rig.store.finish(lease, end_of_stream(201))
    await rig.store.request_cancel("ended", "client")
    assert await ids(rig, state="finished") == ["ended"]
    await rig.advance(RETENTION / 2)
    await rig.store.tidy()
    assert await ids(rig) == ["running"]


# Waiting


@pytest.mark.anyio
async def test_waiting_for_what_is_there_returns_at_once(rig: Rig) -> None:
    await create(rig, "running", records=2)
    await create_ended(rig, "ended")
    with anyio.fail_after(5):
        await rig.store.wait("running", -1)
        await rig.store.wait("running", 0)
        await rig.store.wait("ended", 0)
        await rig.store.wait("ended", 1)
        await rig.store.wait("ended", 500)


@pytest.mark.promise("P28")
@pytest.mark.anyio
async def test_readers_that_wait_see_the_record_only_when_it_is_in_the_log(rig: Rig) -> None:
    lease = await create(rig)
    woken: list[Sequence[Record]] = []

    async def reader() -> None:
        await rig.store.wait("s", -1)
        woken.append(await rig.store.read("s", -1, EVERYTHING))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(reader)
            await let_others_run()
            assert woken == []
            await rig.store.append(lease, 0, tokens(0, 3))
    assert [list(records) for records in woken] == [tokens(0, 3)] * 20


@pytest.mark.anyio
async def test_a_reader_further_on_sleeps_through_records_that_it_has(rig: Rig) -> None:
    lease = await create(rig)
    woken = anyio.Event()

    async def reader() -> None:
        await rig.store.wait("s", 2)
        woken.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            for seq in range(3):
                await let_others_run()
                await rig.store.append(lease, seq, [token(seq)])
            await let_others_run()
            assert not woken.is_set()
            await rig.store.append(lease, 3, [token(3)])


@pytest.mark.promise("P3")
@pytest.mark.anyio
async def test_the_end_wakes_every_reader_wherever_it_waits(rig: Rig) -> None:
    lease = await create(rig, records=1)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for after in (0, 1, 700):
                group.start_soon(rig.store.wait, "s", after)
            await let_others_run()
            await rig.store.finish(lease, end_of_stream(1))


@pytest.mark.anyio
async def test_deleting_wakes_every_reader_to_not_found(rig: Rig) -> None:
    await create(rig)
    refused: list[int] = []

    async def reader(number: int) -> None:
        with pytest.raises(NotFound):
            await rig.store.wait("s", -1)
        refused.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(reader, number)
            await let_others_run()
            await rig.store.delete("s")
    assert sorted(refused) == [0, 1, 2]


@pytest.mark.anyio
async def test_a_reader_that_leaves_takes_no_wake_up_from_the_others(rig: Rig) -> None:
    lease = await create(rig)
    woken: list[int] = []

    async def reader(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await rig.store.wait("s", -1)
            woken.append(number)

    scopes = [anyio.CancelScope() for _ in range(6)]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number, scope in enumerate(scopes):
                group.start_soon(reader, number, scope)
            await let_others_run()
            scopes[0].cancel()
            await let_others_run()
            scopes[3].cancel()  # still on its way out when the record comes
            await rig.store.append(lease, 0, tokens(0, 1))
    assert sorted(woken) == [1, 2, 4, 5]


@pytest.mark.anyio
async def test_a_waiting_reader_follows_the_stream_over_a_take_over(rig: Rig) -> None:
    await create(rig)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(rig.store.wait, "s", -1)
            await let_others_run()
            await rig.advance(TTL)
            lease = await rig.store.acquire("s", "ann", b"{}", TTL)
            await rig.store.append(lease, 0, tokens(0, 1))


# Following, and appending at once: what a store may refuse to do. Then nothing is done, and nobody is told.


async def put(rig: Rig, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
    """Append as the engine does."""
    if not rig.store.append_now(lease, first_seq, records):
        await rig.store.append(lease, first_seq, records)


class Told:
    """A follower from the log's end on; `stop` is None where the store does not tell."""

    def __init__(self, rig: Rig, after: int, stream_id: str = "s", *, fails: bool = False) -> None:
        self.records: list[Record] = []
        self.problems: list[Exception] = []
        self._rig = rig
        self._after = after
        self._stream_id = stream_id
        self._fails = fails
        self.stop = rig.store.follow(stream_id, after, self)

    def take(self, records: Sequence[Record]) -> None:
        assert self._rig.store.follow(self._stream_id, self._after, self) is None, "told before it is in the log"
        self._after = records[-1].seq
        self.records += records
        if self._fails:
            raise ZeroDivisionError

    def lost(self, problem: Exception) -> None:
        self.problems.append(problem)

    async def heard(self, records: Sequence[Record]) -> None:
        """What it was told is this, if its store tells."""
        await let_others_run()
        assert self.records == (list(records) if self.stop else [])
        if not self._fails:
            assert self.problems == []

    async def lost_with(self, kind: type[Exception]) -> None:
        """It was told once that there will be no more, if its store tells."""
        await let_others_run()
        assert [type(problem) for problem in self.problems] == ([kind] if self.stop else [])


@pytest.mark.promise("P28")
@pytest.mark.anyio
async def test_what_is_appended_at_once_can_be_read_at_once_and_what_is_refused_was_not_done(rig: Rig) -> None:
    lease = await create(rig)
    done = rig.store.append_now(lease, 0, tokens(0, 3))
    assert await whole_log(rig) == (tokens(0, 3) if done else [])
    await put(rig, lease, 0, tokens(0, 3))
    await put(rig, lease, 1, tokens(1, 5))
    assert await whole_log(rig) == tokens(0, 5)


@pytest.mark.anyio
async def test_appending_at_once_raises_what_appending_raises(rig: Rig) -> None:
    lease = await create(rig, records=2)
    with pytest.raises(SequenceGap):
        await put(rig, lease, 3, tokens(3, 4))
    with pytest.raises(SequenceGap):
        await put(rig, lease, 2, tokens(5, 7))
    with pytest.raises(LogFull):
        await put(rig, lease, 2, [token(2, "x" * STREAM_LIMIT)])
    assert await whole_log(rig) == tokens(0, 2)
    await rig.advance(TTL)
    new = await rig.store.acquire("s", "ann", b"{}", TTL)
    with pytest.raises(Fenced):
        await put(rig, lease, 2, tokens(2, 3))
    await rig.store.finish(new, end_of_stream(2))
    with pytest.raises(Fenced):
        await put(rig, new, 3, tokens(3, 4))
    await rig.store.delete("s")
    with pytest.raises(NotFound):
        await put(rig, new, 3, tokens(3, 4))


@pytest.mark.promise("P28")
@pytest.mark.anyio
@pytest.mark.parametrize("several", [1, 3])
async def test_followers_are_told_every_record_once_in_order_when_it_is_in_the_log(rig: Rig, several: int) -> None:
    lease = await create(rig, records=2)
    followers = [Told(rig, 1) for _ in range(several)]
    await put(rig, lease, 2, tokens(2, 3))
    await put(rig, lease, 2, tokens(2, 6))
    await let_others_run()
    await put(rig, lease, 4, tokens(4, 6))  # nothing new
    await put(rig, lease, 6, tokens(6, 8))
    late = Told(rig, 7)
    await put(rig, lease, 8, tokens(8, 9))
    await rig.store.finish(lease, end_of_stream(9))
    for follower in followers:
        await follower.heard([*tokens(2, 9), end_of_stream(9)])
    await late.heard([token(8), end_of_stream(9)])


@pytest.mark.anyio
async def test_who_is_behind_or_has_nothing_to_come_cannot_follow(rig: Rig) -> None:
    await create(rig, "running", records=2)
    await create_ended(rig, "ended")
    assert rig.store.follow("ended", 1, Told(rig, 1, "ended")) is None
    for stream_id, after in (("running", -1), ("running", 0), ("ended", 0), ("ended", 1), ("ghost", -1)):
        assert Told(rig, after, stream_id).stop is None


@pytest.mark.anyio
@pytest.mark.parametrize("several", [1, 3])
async def test_who_has_stopped_is_told_nothing_and_may_follow_again(rig: Rig, several: int) -> None:
    lease = await create(rig, records=1)
    others = [Told(rig, 0) for _ in range(several - 1)]
    first = Told(rig, 0)
    await put(rig, lease, 1, tokens(1, 2))
    await first.heard(tokens(1, 2))
    await put(rig, lease, 2, tokens(2, 3))
    heard = list(first.records)  # perhaps not of the last one yet
    if first.stop is not None:
        first.stop()
        first.stop()
    again = Told(rig, 2)
    await put(rig, lease, 3, tokens(3, 4))
    await first.heard(heard)
    await again.heard(tokens(3, 4))
    for other in others:
        await other.heard(tokens(1, 4))


@pytest.mark.anyio
@pytest.mark.parametrize("several", [1, 3])
async def test_deleting_is_told_to_every_follower_once_and_nothing_after_it(rig: Rig, several: int) -> None:
    lease = await create(rig)
    followers = [Told(rig, -1) for _ in range(several)]
    await put(rig, lease, 0, tokens(0, 1))
    await rig.store.delete("s")
    heard = [list(follower.records) for follower in followers]
    for follower, records in zip(followers, heard, strict=True):
        await follower.lost_with(NotFound)
        assert follower.records == records


@pytest.mark.promise("P2")
@pytest.mark.anyio
@pytest.mark.parametrize("several", [1, 3])
async def test_a_follower_that_fails_is_told_so_and_harms_neither_producer_nor_the_others(
    rig: Rig, several: int
) -> None:
    lease = await create(rig)
    others = [Told(rig, -1) for _ in range(several - 1)]
    broken = Told(rig, -1, fails=True)
    for seq in range(3):
        await put(rig, lease, seq, [token(seq)])
        await let_others_run()
    await broken.heard([token(0)])
    await broken.lost_with(ZeroDivisionError)
    await rig.store.finish(lease, end_of_stream(3))
    for other in others:
        await other.heard([*tokens(0, 3), end_of_stream(3)])
    assert await whole_log(rig) == [*tokens(0, 3), end_of_stream(3)]


# Listing


@pytest.mark.promise("P32")
@pytest.mark.anyio
async def test_a_list_holds_the_owners_streams_only(rig: Rig) -> None:
    await create(rig, "a1", "ann")
    await create(rig, "b1", "bob")
    await create(rig, "a2", "ann")
    assert await ids(rig, "ann") == ["a2", "a1"]
    assert await ids(rig, "bob") == ["b1"]
    assert await ids(rig, "eve") == []
    with pytest.raises(NotFound):
        await ids(rig, "bob", before="a1")


@pytest.mark.anyio
async def test_a_list_is_newest_first_by_creation_and_pages_without_gaps(rig: Rig) -> None:
    leases: list[Lease] = []
    for number in range(7):
        leases.append(await create(rig, f"s{number}"))
        await rig.advance(0.01)
    await rig.store.finish(leases[2], end_of_stream(0))
    pages: list[list[str]] = []
    before = None
    while page := await rig.store.list("ann", None, before, 3):
        pages.append([info.id for info in page])
        before = page[-1].id
    assert pages == [["s6", "s5", "s4"], ["s3", "s2", "s1"], ["s0"]]


@pytest.mark.anyio
async def test_a_list_filters_by_state_before_it_counts(rig: Rig) -> None:
    await create_ended(rig, "old")
    await create_ended(rig, "stopped", terminal=Cancelled("client"))
    await create(rig, "live")
    await create_ended(rig, "new")
    assert await ids(rig, state="finished") == ["new", "old"]
    assert await ids(rig, state="cancelled") == ["stopped"]
    assert await ids(rig, state="running") == ["live"]
    assert await ids(rig, state="failed") == []
    assert [info.id for info in await rig.store.list("ann", "finished", "new", 1)] == ["old"]
    assert await ids(rig, state="finished", before="live") == ["old"]


# Claims


@pytest.mark.promise("P10")
@pytest.mark.anyio
async def test_the_first_claim_holds_until_its_time_is_over(rig: Rig) -> None:
    assert await rig.store.claim("ann/key", "one", TTL) == "one"
    assert await rig.store.claim("ann/key", "two", TTL) == "one"
    assert await rig.store.claim("bob/key", "two", TTL) == "two"
    await rig.advance(TTL - 1)
    assert await rig.store.claim("ann/key", "two", TTL) == "one"
    await rig.advance(1)
    assert await rig.store.claim("ann/key", "two", TTL) == "two"


@pytest.mark.anyio
async def test_looking_at_a_claim_changes_nothing(rig: Rig) -> None:
    assert await rig.store.claimed("key") is None
    assert await rig.store.claim("key", "one", TTL) == "one"
    assert await rig.store.claimed("key") == "one"
    await rig.advance(TTL)
    assert await rig.store.claimed("key") is None


@pytest.mark.anyio
async def test_only_the_holder_extends_a_claim(rig: Rig) -> None:
    await rig.store.claim("key", "one", TTL)
    await rig.store.extend("key", "two", 100 * TTL)
    assert await rig.store.claim("key", "two", TTL) == "one"
    await rig.store.extend("other", "one", TTL)
    await rig.advance(TTL - 1)
    await rig.store.extend("key", "one", TTL)
    await rig.advance(TTL - 1)
    assert await rig.store.claim("key", "two", TTL) == "one"
    await rig.advance(1)
    await rig.store.extend("key", "one", TTL)  # too late
    assert await rig.store.claim("key", "two", TTL) == "two"
    assert await rig.store.claim("other", "two", TTL) == "two"


@pytest.mark.promise("P10")
@pytest.mark.anyio
async def test_only_the_holder_frees_a_claim(rig: Rig) -> None:
    await rig.store.claim("key", "one", TTL)
    await rig.store.release("key", "two")
    assert await rig.store.claim("key", "two", TTL) == "one"
    await rig.store.release("key", "one")
    await rig.store.release("key", "one")
    assert await rig.store.claim("key", "two", TTL) == "two"


# Cancelling


@pytest.mark.promise("P7")
@pytest.mark.anyio
async def test_each_cancel_request_is_delivered_once_also_from_before_the_iteration(rig: Rig) -> None:
    for stream_id in ("early", "late"):
        await create(rig, stream_id)
    await rig.store.request_cancel("early", "client")
    await rig.store.request_cancel("early", "disconnect")
    delivered: list[tuple[str, str]] = []

    async def engine() -> None:
        async for request in rig.store.cancellations():
            delivered.append(request)  # noqa: PERF401 - seen while the iteration runs

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(engine)
            while len(delivered) < 1:
                await anyio.lowlevel.checkpoint()
            await rig.store.request_cancel("late", "client")
            while len(delivered) < 2:
                await anyio.lowlevel.checkpoint()
            await rig.store.request_cancel("early", "client")
            await rig.store.request_cancel("late", "client")
            await let_others_run()
            await rig.store.close()  # ends the iteration
    assert delivered == [("early", "client"), ("late", "client")]


@pytest.mark.promise("P7")
@pytest.mark.anyio
async def test_cancelling_an_ended_stream_does_nothing(rig: Rig) -> None:
    await create_ended(rig, "ended")
    await create(rig, "live")
    await rig.store.request_cancel("ended", "client")
    await rig.store.request_cancel("live", "client")
    with anyio.fail_after(5):
        assert await anext(rig.store.cancellations()) == ("live", "client")
    assert (await rig.store.status("ended")).state == "finished"


@pytest.mark.anyio
async def test_a_cancel_request_leaves_the_log_to_the_producer(rig: Rig) -> None:
    lease = await create(rig, records=1)
    await rig.store.request_cancel("s", "client")
    assert (await rig.store.status("s")).state == "running"
    await rig.store.append(lease, 1, tokens(1, 2))
    await rig.store.finish(lease, end_of_stream(2, Cancelled("client")))


@pytest.mark.promise("P7")
@pytest.mark.anyio
async def test_who_takes_a_stream_over_is_told_who_asked_first_for_its_end(rig: Rig) -> None:
    assert (await create(rig, records=1)).cancel is None
    await rig.store.request_cancel("s", "client")
    await rig.store.request_cancel("s", "disconnect")
    await rig.advance(TTL + 1)
    assert (await rig.store.acquire("s", "ann", b"", TTL)).cancel == "client"


# Against a model: a list that records are put into

fresh = count()

appends = st.tuples(st.just("append"), st.integers(-6, 2), st.integers(0, 9))
"""Where the batch starts, counted from the end of the log, and how many records it holds."""
reads = st.tuples(st.just("read"), st.integers(-1, 40), st.integers(0, 12))
waits = st.tuples(st.just("wait"), st.integers(-1, 40), st.just(0))


async def append_both(rig: Rig, lease: Lease, model: list[Record], shift: int, size: int) -> None:
    first = max(len(model) + shift, 0)
    batch = tokens(first, first + size)
    if first > len(model):
        with pytest.raises(SequenceGap):
            await rig.store.append(lease, first, batch)
    else:
        await rig.store.append(lease, first, batch)
        model.extend(batch[len(model) - first :])


async def follow(rig: Rig, stream_id: str, step: int, seen: list[Record]) -> None:
    """Read as a connection does: wait, read at most `step`, until the terminal record."""
    while not (seen and seen[-1].terminal):
        await rig.store.wait(stream_id, len(seen) - 1)
        records = await rig.store.read(stream_id, len(seen) - 1, step)
        assert records, "wait returned, but there was nothing to read"
        seen.extend(records)


@pytest.mark.promise("P3", "P28")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=st.lists(appends | reads | waits, max_size=30),
    steps=st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
@pytest.mark.anyio
async def test_any_history_reads_like_a_plain_list(
    rig: Rig, operations: list[tuple[str, int, int]], steps: list[int]
) -> None:
    stream_id = f"history{next(fresh)}"
    lease = await create(rig, stream_id)
    model: list[Record] = []
    readers: list[list[Record]] = [[] for _ in steps]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for step, seen in zip(steps, readers, strict=True):
                group.start_soon(follow, rig, stream_id, step, seen)
            for kind, position, size in operations:
                if kind == "append":
                    await append_both(rig, lease, model, position, size)
                elif kind == "read":
                    part = await rig.store.read(stream_id, position, size)
                    assert list(part) == model[position + 1 : position + 1 + size]
                elif position < len(model) - 1:
                    await rig.store.wait(stream_id, position)
                else:
                    with anyio.move_on_after(0) as scope:
                        await rig.store.wait(stream_id, position)
                    assert scope.cancelled_caught, "wait returned before there was anything to read"
                assert all(seen == model[: len(seen)] for seen in readers)
            model.append(end_of_stream(len(model)))
            await rig.store.finish(lease, model[-1])
    assert readers == [model] * len(steps)
    assert await whole_log(rig, stream_id) == model
    assert (await rig.store.status(stream_id)).next_seq == len(model)
    await rig.store.delete(stream_id)
