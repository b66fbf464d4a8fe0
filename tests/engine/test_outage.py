"""The store goes away while streams run: nothing is lost, nothing is there twice, and nobody waits for ever."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from headrace.bodies import Body
from headrace.engine.clock import FakeClock
from headrace.engine.engine import CANCEL_WAIT
from headrace.engine.log_writer import RETRY
from headrace.engine.relay import LAST_TRIES, STOPPING
from headrace.errors import Fenced, StoreError, StoreUnavailable
from headrace.events import Cancelled, Failed, Finished, Record, StreamStart, Terminal, TextDelta
from headrace.stores.base import Lease
from tests.engine.rig import OPENING, OWNER, Rig, marker, node, read_all, relays, settle, terminals, words
from tests.stores.outages import OutageStore, away

pytestmark = pytest.mark.anyio

BUFFER = 16 * 1024
TIMEOUT = 30.0
END = ("store_unavailable", 503, True)
"""Code and status, and whether it helps to ask again, of a stream whose store stays away."""


class Scene:
    """A node whose store is `store`, with a stream that has said `a`."""

    def __init__(self, rig: Rig, store: OutageStore, stream_id: str) -> None:
        self.rig = rig
        self.store = store
        self.id = stream_id

    async def say(self, *texts: str) -> None:
        """One read of the upstream for each."""
        self.rig.call.say(*([chunk] for chunk in words(*texts)))
        await settle()

    async def pass_time(self, seconds: float) -> None:
        """In steps, so that whoever waits again is woken again."""
        for _ in range(int(seconds / RETRY)):
            self.rig.clock.advance(RETRY)
            await settle()

    @asynccontextmanager
    async def stopping(self) -> AsyncIterator[list[bool]]:
        """Somebody asks for the stream's end; the list gets what is answered, which the block's end waits for."""
        ended: list[bool] = []

        async def stop() -> None:
            ended.append(await self.rig.engine.cancel(self.id, OWNER))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            await settle()
            yield ended

    async def end(self) -> tuple[str, Terminal | None]:
        """The text in the log, and how it ended; every seq must be there once."""
        records: Sequence[Record] = await self.rig.records(self.id)
        assert [record.seq for record in records] == list(range(len(records)))
        assert isinstance(records[0].events[0], StreamStart)
        events = [event for record in records for event in record.events]
        return "".join(event.text for event in events if isinstance(event, TextDelta)), records[-1].terminal


@asynccontextmanager
async def scene(**config: Any) -> AsyncIterator[Scene]:
    settings = {"store_outage_buffer": BUFFER, "store_outage_timeout": TIMEOUT, **config}
    clock = FakeClock()
    store = OutageStore(now=clock.wall)
    async with node(store, clock, **settings) as rig:
        started = await rig.start()
        with started.subscription:
            rig.call.say([OPENING])
            made = Scene(rig, store, started.stream_id)
            await made.say("a")
            try:
                yield made
            finally:  # also for one that fails: a relay would wait for a clock that stands still
                store.come_back()
                await made.pass_time(2 * RETRY)
            rig.call.stop()
            await made.pass_time(STOPPING)


@pytest.mark.promise("P4", "P28")
async def test_the_upstream_is_read_on_and_all_of_it_is_in_the_log_afterwards() -> None:
    async with scene() as at:
        at.store.go()
        await at.say(*"bcdef")
        assert at.rig.call.steps.empty()
        await at.pass_time(5)
        at.store.come_back()
        assert (await at.end())[0] == "a"
        await at.pass_time(RETRY)
        assert (await at.end())[0] == "abcdef"
        before = at.store.appends
        await at.say("g")
        assert at.store.appends == before + 1
        at.rig.call.finish()
        await settle()
        assert await at.end() == ("abcdefg", Finished("stop"))


@pytest.mark.promise("P4", "P28")
async def test_an_append_that_was_done_and_not_acknowledged_is_in_the_log_once() -> None:
    async with scene() as at:
        at.store.next_append = StoreUnavailable("the reply is lost")
        await at.say(*"bc")
        await at.pass_time(RETRY)
        at.rig.call.finish()
        await settle()
        assert await at.end() == ("abc", Finished("stop"))


@pytest.mark.promise("P3", "P6")
async def test_a_stream_that_finishes_meanwhile_is_finished_when_the_store_is_back() -> None:
    async with scene() as at:
        at.store.go()
        await at.say(*"bc")
        at.rig.call.finish()
        await at.pass_time(5)
        assert relays(at.rig.engine)
        at.store.come_back()
        await at.pass_time(RETRY)
        assert await at.end() == ("abc", Finished("stop"))
        assert not relays(at.rig.engine)


@pytest.mark.promise("P3", "P24")
async def test_a_stream_that_says_more_than_may_be_kept_is_ended_and_its_upstream_is_closed() -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        await at.say("x" * BUFFER)
        assert at.rig.history == ["asked", "closed"]
        at.store.come_back()
        await at.pass_time(RETRY)
        text, terminal = await at.end()
        assert text[:2] == "ab"
        assert isinstance(terminal, Failed) and (terminal.code, terminal.status, terminal.retryable) == END
        assert "store_outage_buffer" in terminal.message


@pytest.mark.promise("P3")
async def test_a_store_that_stays_away_ends_the_stream_and_closes_its_upstream() -> None:
    async with scene() as at:
        at.store.go()
        await at.say(*"bc")
        await at.pass_time(TIMEOUT - 1)
        assert at.rig.history == ["asked"]
        await at.pass_time(1)
        assert at.rig.history == ["asked", "closed"]
        assert relays(at.rig.engine)
        at.store.come_back()
        await at.pass_time(RETRY)
        text, terminal = await at.end()
        assert text == "abc"
        assert isinstance(terminal, Failed) and terminal.code == END[0]
        assert "store_outage_timeout" in terminal.message


@pytest.mark.promise("P3")
async def test_after_a_long_outage_the_end_says_what_it_was() -> None:
    async with scene() as at:
        at.store.go()
        await at.say(*"bc")
        await at.pass_time(TIMEOUT + 60)
        assert at.rig.history == ["asked", "closed"]
        at.store.come_back()
        await at.pass_time(RETRY)
        text, terminal = await at.end()
        assert text == "abc" and isinstance(terminal, Failed) and terminal.code == END[0]
        assert [ended.terminal for ended in at.rig.witness.ends] == [terminal]


@pytest.mark.promise("P11")
@pytest.mark.parametrize("before", [0.0, TIMEOUT + 60])
async def test_a_server_that_stops_does_not_wait_long_for_a_store_that_is_away(before: float) -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        await at.pass_time(before)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.rig.engine.drain, 0)
            await settle()
            await at.pass_time(STOPPING + 2 * RETRY)
            assert not relays(at.rig.engine)
            at.rig.made.clear()
            await at.pass_time(5)


@pytest.mark.promise("P3")
async def test_a_store_that_never_comes_back_keeps_no_stream_alive(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        await at.pass_time(TIMEOUT + LAST_TRIES)
        assert not relays(at.rig.engine)
        assert "the terminal record could not be written" in caplog.text
        assert at.rig.witness.ends == []
        at.store.come_back()
        assert await at.end() == ("a", None)
        await at.pass_time(2 * at.rig.config.lease_seconds)
        text, terminal = await at.end()
        assert text == "a" and isinstance(terminal, Failed) and terminal.code == "producer_lost"
        assert len(at.rig.witness.ends) == 1


@pytest.mark.promise("P7")
async def test_a_stop_closes_the_upstream_at_once_and_is_in_the_log_when_the_store_is_back() -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        async with at.stopping() as ended:
            assert at.rig.history == ["asked", "closed"]
            assert ended == []
            at.store.come_back()
            await at.pass_time(RETRY)
        assert ended == [True]
        assert await at.end() == ("ab", Cancelled("client"))


@pytest.mark.promise("P7")
async def test_a_stop_that_the_store_does_not_confirm_says_so() -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        async with at.stopping() as ended:
            await at.pass_time(CANCEL_WAIT + RETRY)
        assert ended == [False]
        at.store.come_back()
        await at.pass_time(RETRY)
        assert await at.end() == ("ab", Cancelled("client"))


@pytest.mark.promise("P24")
async def test_a_new_stream_is_refused_before_anybody_is_asked() -> None:
    async with scene() as at:
        at.store.go()
        assert isinstance(at.rig.engine.refusal, StoreUnavailable)
        for key in (None, "key"):
            with pytest.raises(StoreUnavailable) as caught:
                await at.rig.start(key=key)
            assert caught.value.status == 503 and caught.value.retry_after
        at.store.come_back()
        assert at.rig.engine.refusal is None
        assert at.rig.provider.asked == 1


class HalfAway(OutageStore):
    """Part of it is away: that of the ids which do not begin with `here`."""

    here = "0123456789abcdef"

    def serves(self, stream_id: str) -> bool:
        return stream_id[0] in self.here

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        if not self.serves(stream_id):
            raise away()
        return await super().acquire(stream_id, owner, request, ttl)


async def test_while_part_of_the_store_is_away_new_streams_are_kept_in_the_rest() -> None:
    clock = FakeClock()
    store = HalfAway(now=clock.wall)
    async with node(store, clock) as rig:
        store.here = "01234567"
        started = [await rig.start() for _ in range(10)]
        ids = [each.stream_id for each in started]
        assert all(map(store.serves, ids))
        store.here = ""
        with pytest.raises(StoreUnavailable):
            await rig.start()
        for number, each in enumerate(started):
            rig.provider.call(number).finish()
            assert terminals(await read_all(each.subscription)) == [Finished("stop")]


async def test_a_stream_that_was_taken_over_meanwhile_ends_here() -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        at.store.next_append = Fenced("x")
        at.store.come_back()
        await at.pass_time(RETRY)
        assert at.rig.history == ["asked", "closed"]


@pytest.mark.promise("P24")
async def test_a_log_that_is_full_when_the_store_is_back_still_gets_its_end() -> None:
    clock = FakeClock()
    store = OutageStore(now=clock.wall, max_stream_bytes=4096)
    async with node(store, clock, store_outage_buffer=BUFFER, store_outage_timeout=TIMEOUT) as rig:
        started = await rig.start()
        at = Scene(rig, store, started.stream_id)
        rig.call.say([OPENING])
        with started.subscription:
            await at.say("a")
            store.go()
            await at.say("x" * 5000, "b")
            store.come_back()
            await at.pass_time(RETRY)
            text, terminal = await at.end()
            assert text == "a"
            assert isinstance(terminal, Failed) and terminal.code == "log_full"
            assert rig.history == ["asked", "closed"]


@pytest.mark.promise("P3")
async def test_leases_are_renewed_together_and_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as at:
        more = [await at.rig.start() for _ in range(3)]
        at.store.go()
        with caplog.at_level(logging.WARNING):
            await at.pass_time(at.rig.config.lease_seconds * 0.3)
            await at.pass_time(at.rig.config.lease_seconds * 0.3)
        assert caplog.text.count("leases could not be renewed") == 1
        at.store.come_back()
        for started in more:
            started.subscription.close()
            await at.rig.engine.cancel(started.stream_id, OWNER)


@pytest.mark.promise("P3")
async def test_a_defect_in_writing_what_was_kept_ends_that_stream_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as at:
        at.store.go()
        await at.say("b")
        at.store.next_append = ZeroDivisionError()
        at.store.come_back()
        await at.pass_time(RETRY)
        text, terminal = await at.end()
        assert text == "ab"
        assert isinstance(terminal, Failed) and terminal.code == "internal_error"
        assert at.rig.history == ["asked", "closed"]
        assert "defect in writing what was kept" in caplog.text


# Readers


@pytest.mark.promise("P5")
async def test_a_reader_of_what_the_store_has_lost_is_cut_off() -> None:
    async with scene() as at:
        at.rig.call.finish()
        await settle()
        reader = at.rig.engine._subscribe(at.id)
        reader.go_on(len(await at.rig.records(at.id)), ended=False)  # a server had more, and is gone
        with anyio.fail_after(5), pytest.raises(StoreError, match="lost the end"):
            await reader.next()
        assert not reader.ended
        reader.close()


@pytest.mark.promise("P2", "P4")
async def test_a_reader_that_is_behind_waits_and_reads_on() -> None:
    async with scene() as at:
        await at.say(*"bc")
        at.store.go()
        reader = at.rig.engine._subscribe(at.id)
        got: list[Record] = []

        async def read() -> None:
            got.extend(await reader.next())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await at.pass_time(TIMEOUT / 2)
            assert not got
            at.store.come_back()
        assert [record.seq for record in got] == list(range(len(await at.rig.records(at.id))))
        reader.close()


@pytest.mark.promise("P5")
async def test_a_reader_is_cut_off_where_the_store_stays_away_and_never_sees_an_end() -> None:
    async with scene() as at:
        at.store.go()
        reader = at.rig.engine._subscribe(at.id)

        async def read() -> None:
            with pytest.raises(StoreUnavailable):
                await reader.next()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await settle()
            at.store.give_up()
        assert not reader.ended
        reader.close()


@pytest.mark.promise("P3")
async def test_an_answer_whose_end_is_never_written_is_not_told_twice() -> None:
    async with scene() as at:
        at.store.go()
        at.rig.call.say(marker())
        await at.pass_time(2 * LAST_TRIES + TIMEOUT)
        assert not relays(at.rig.engine)
        at.store.come_back()
        await at.pass_time(2 * at.rig.config.lease_seconds)
        assert len(at.rig.witness.ends) == 1
