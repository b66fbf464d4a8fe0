"""A drain takes nothing new, lets what runs end, and ends the rest in its own words before anybody is cut off."""

import anyio
import pytest

from headrace.bodies import Body
from headrace.engine.clock import FakeClock
from headrace.errors import Overloaded
from headrace.events import Cancelled, Failed, Finished
from headrace.stores.base import Lease
from tests.engine.rig import OPENING, OWNER, Connection, Rig, node, read_all, relays, settle, terminals, words
from tests.stores.waiting import WaitingStore

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P11")]


class Drain:
    """One that is under way."""

    def __init__(self, rig: Rig, seconds: float = 25, cut: anyio.Event | None = None) -> None:
        self._rig, self._seconds, self._cut = rig, seconds, cut
        self.over = False

    async def run(self) -> None:
        await self._rig.engine.drain(self._seconds, self._cut)
        self.over = True


async def test_nothing_new_starts_and_the_caller_is_told_when_to_come_back() -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            started = await rig.start(key="a")
            tasks.start_soon(Drain(rig).run)
            await settle()
            assert rig.engine.refusal is not None
            for key in (None, "a", "b"):
                with pytest.raises(Overloaded) as caught:
                    await rig.start(key=key)
                assert caught.value.retry_after == 1 and caught.value.may_retry
            rig.call.finish()
            await read_all(started.subscription)
            assert rig.provider.asked == 1


@pytest.mark.parametrize("read", [True, False], ids=["with a reader", "without readers"])
async def test_a_stream_that_ends_in_time_ends_well(read: bool) -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            started = await rig.start()
            if not read:
                started.subscription.close()
            rig.call.say([OPENING], words("a"))
            drain = Drain(rig)
            tasks.start_soon(drain.run)
            await settle()
            rig.clock.advance(24)
            await settle()
            assert not drain.over and relays(rig.engine)
            rig.call.say(words("b"))
            rig.call.finish()
            await settle()
            assert drain.over != read
            if read:
                assert terminals(await read_all(started.subscription)) == [Finished("stop")]
            else:
                assert terminals(await rig.records(started.stream_id)) == [Finished("stop")]
            await settle()
            assert drain.over


@pytest.mark.promise("P5")
@pytest.mark.parametrize("phase", ["queued", "waiting for a retry", "before content", "middle"])
async def test_what_still_runs_at_the_deadline_fails_in_band_and_frees_its_upstream(phase: str) -> None:
    with anyio.fail_after(5):
        async with node(retries=1, retry_backoff=60, retry_backoff_max=60) as rig, anyio.create_task_group() as tasks:
            started = await rig.start()
            connection = Connection()
            tasks.start_soon(connection.serve, rig.streamed(started.subscription))
            if phase == "waiting for a retry":
                rig.call.fail(Overloaded("x"))
            elif phase != "queued":
                rig.call.say([OPENING], *([words("a")] if phase == "middle" else []))
            await settle()
            drain = Drain(rig)
            tasks.start_soon(drain.run)
            await settle()
            rig.clock.advance(24)
            await settle()
            assert not drain.over
            rig.clock.advance(1)
            await settle()
            assert drain.over
            (terminal,) = terminals(await rig.records(started.stream_id))
            assert isinstance(terminal, Failed)
            assert (terminal.code, terminal.status, terminal.retryable) == ("server_shutdown", 503, True)
            assert b'"code":"server_shutdown"' in connection.body and connection.aborted
            assert rig.history == ["asked", "closed"]


async def test_readers_may_come_back_and_stop_a_stream_while_it_drains() -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            started = await rig.start()
            started.subscription.close()
            rig.call.say([OPENING], words("a"))
            tasks.start_soon(Drain(rig).run)
            await settle()
            back = await rig.engine.subscribe(started.stream_id, OWNER)
            await rig.engine.cancel(started.stream_id, OWNER)
            assert terminals(await read_all(back)) == [Cancelled("client")]


@pytest.mark.parametrize("seconds", [25, 0])
async def test_a_slow_reader_has_three_more_seconds_for_the_end(seconds: float) -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            started = await rig.start()
            connection = Connection(stalled=True)
            tasks.start_soon(connection.serve, rig.streamed(started.subscription))
            rig.call.say([OPENING], words("a"))
            await settle()
            drain = Drain(rig, seconds)
            tasks.start_soon(drain.run)
            await settle()
            rig.clock.advance(seconds)
            await settle()
            assert not relays(rig.engine) and not drain.over
            rig.clock.advance(2.9)
            await settle()
            assert not drain.over
            rig.clock.advance(0.1)
            await settle()
            assert drain.over
            connection.resume()
            await settle()


@pytest.mark.parametrize("stalled", [False, True])
async def test_a_cut_ends_every_wait_but_not_without_the_terminal_record(stalled: bool) -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            started = await rig.start()
            connection = Connection(stalled=stalled)
            tasks.start_soon(connection.serve, rig.streamed(started.subscription))
            rig.call.say([OPENING])
            cut = anyio.Event()
            drain = Drain(rig, 25, cut)
            tasks.start_soon(drain.run)
            await settle()
            assert not drain.over
            cut.set()
            await settle()
            assert drain.over
            (terminal,) = terminals(await rig.records(started.stream_id))
            assert isinstance(terminal, Failed) and terminal.code == "server_shutdown"
            connection.resume()
            await settle()


class SlowStore(WaitingStore):
    """Its `acquire` waits for the test."""

    gate: anyio.Event | None = None

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        if self.gate is not None:
            await self.gate.wait()
        return await super().acquire(stream_id, owner, request, ttl)


async def test_a_stream_that_was_being_opened_is_refused_and_ended() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = SlowStore(now=clock.wall)
        async with node(store, clock) as rig, anyio.create_task_group() as tasks:
            store.gate = anyio.Event()
            refused: list[Overloaded] = []

            async def ask() -> None:
                try:
                    await rig.start()
                except Overloaded as error:
                    refused.append(error)

            tasks.start_soon(ask)
            await settle()
            await rig.engine.drain(25)
            store.gate.set()
            await settle()
            assert len(refused) == 1 and rig.provider.asked == 0
            (info,) = await rig.engine.list(OWNER, None, None, 10)
            assert info.state == "failed"


async def test_an_idle_server_drains_at_once() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await rig.engine.drain(25)
