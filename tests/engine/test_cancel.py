"""Stop: by id, from anywhere, and the upstream is closed before the answer."""

import anyio
import pytest

from headrace.engine.clock import FakeClock
from headrace.engine.engine import CANCEL_WAIT
from headrace.engine.idempotency import claim_name
from headrace.errors import NotFound
from headrace.events import Cancelled, Finished, Record, Usage
from tests.engine.rig import (
    OPENING,
    OWNER,
    Connection,
    Rig,
    marker,
    memory_store,
    node,
    read_all,
    settle,
    terminals,
    words,
)

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P7")]

PHASES = {"queued": 0, "before the first token": 1, "middle": 2}


async def _until(rig: Rig, phase: str) -> None:
    await settle()
    if PHASES[phase] > 0:
        rig.call.say([OPENING])
    if PHASES[phase] > 1:
        rig.call.say(words("Hello", " wor"))
    await settle()


@pytest.mark.parametrize("phase", PHASES)
async def test_the_upstream_is_closed_before_the_cancel_is_answered(phase: str) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            gate = anyio.Event()
            rig.call.gates.append(gate)
            await _until(rig, phase)

            async def cancel() -> None:
                assert await rig.engine.cancel(started.stream_id, OWNER)
                rig.history.append("answered")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                tasks.start_soon(cancel)
                await settle()
                assert rig.history == ["asked"]
                assert (await rig.engine.info(started.stream_id, OWNER)).state == "running"
                gate.set()
            assert rig.history == ["asked", "closed", "answered", "answered"]
            assert terminals(await read_all(started.subscription)) == [Cancelled("client")]


async def test_a_cancel_before_the_relay_had_its_turn_asks_nobody() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            assert await rig.engine.cancel(started.stream_id, OWNER)
            assert rig.provider.asked == 0
            assert terminals(await read_all(started.subscription)) == [Cancelled("client")]


async def test_a_stream_that_has_ended_stays_as_it_ended() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("a"))
            rig.call.finish()
            before = await read_all(started.subscription)
            for _ in range(3):
                assert await rig.engine.cancel(started.stream_id, OWNER)
            assert await rig.records(started.stream_id) == before


async def test_a_cancel_after_the_marker_does_not_wait_for_a_lingering_upstream() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], marker())
            assert terminals(await read_all(started.subscription)) == [Finished("stop")]
            assert rig.history == ["asked"]
            assert await rig.engine.cancel(started.stream_id, OWNER)
            assert rig.history == ["asked", "closed"]
            assert terminals(await rig.records(started.stream_id)) == [Finished("stop")]


async def test_what_was_said_and_used_stays_readable_and_every_reader_sees_the_end() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connections = {name: Connection() for name in ("openai.chat", "native", "text")}
            async with anyio.create_task_group() as tasks:
                for name, connection in connections.items():
                    subscription = await rig.engine.subscribe(started.stream_id, OWNER)
                    tasks.start_soon(connection.serve, rig.streamed(subscription, name))
                await _until(rig, "middle")
                await rig.engine.cancel(started.stream_id, OWNER)
            answer = await rig.engine.answer(started.stream_id)
            assert answer.text == "Hello wor"
            assert answer.usage == Usage(12, 2, source="partial")
            assert answer.terminal == Cancelled("client")
            assert b'"code":"cancelled"' in connections["openai.chat"].body
            assert b'"type":"cancelled"' in connections["native"].body
            assert [c.clean for c in connections.values()] == [False, True, False]
            started.subscription.close()


async def test_another_owners_stream_cannot_be_stopped() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            for action in (rig.engine.cancel, rig.engine.delete, rig.engine.subscribe):
                with pytest.raises(NotFound):
                    await action(started.stream_id, "somebody else")
            await rig.engine.delete(started.stream_id, OWNER)
            started.subscription.close()


async def test_another_node_stops_the_stream_through_the_store() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as producer:
            started = await producer.start()
            await _until(producer, "middle")
            other = Rig(clock, store, producer.provider, _idle_engine(producer), producer.heartbeats, producer.config)
            assert await other.engine.cancel(started.stream_id, OWNER)
            assert producer.history == ["asked", "closed"]
            assert await other.engine.cancel(started.stream_id, OWNER)
            assert terminals(await read_all(started.subscription)) == [Cancelled("client")]


@pytest.mark.parametrize("wait", [CANCEL_WAIT - 1, CANCEL_WAIT])
async def test_a_cancel_that_nobody_confirms_is_given_up_after_five_seconds(wait: float) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as producer:
            started = await producer.start()
            producer.call.gates.append(gate := anyio.Event())
            await _until(producer, "middle")
            answers: list[bool] = []

            async def cancel() -> None:
                answers.append(await _idle_engine(producer).cancel(started.stream_id, OWNER))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                await settle()
                clock.advance(wait)
                await settle()
                gate.set()
            assert answers == [wait < CANCEL_WAIT]
            assert terminals(await read_all(started.subscription)) == [Cancelled("client")]


async def test_an_idempotency_key_names_the_stream_to_stop() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            name = claim_name(OWNER, "/v1/chat/completions", "k")
            with pytest.raises(NotFound):
                await rig.engine.cancel_by_key(OWNER, name)
            started = await rig.start(key="k")
            await _until(rig, "middle")
            assert await rig.engine.cancel_by_key(OWNER, name) == started.stream_id
            assert rig.history == ["asked", "closed"]
            started.subscription.close()


def _idle_engine(producer: Rig):
    """An engine of another node, on the same store: it runs no stream."""
    return type(producer.engine)(producer.config, producer.store, producer.clock)


async def test_a_node_that_has_lost_a_stream_says_that_it_goes_on_elsewhere() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as slow:
            started = await slow.start()
            slow.made.clear()  # its end is another node's to tell
            await _until(slow, "middle")
            lease = slow.config.lease_seconds
            clock._now += lease  # pyright: ignore[reportPrivateUsage] - it stood still, and no timer ran
            successor = await store.acquire(started.stream_id, OWNER, b"", lease)
            answers: list[bool] = []

            async def cancel() -> None:
                answers.append(await slow.engine.cancel(started.stream_id, OWNER))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                await settle()
                assert slow.history == ["asked", "closed"]
                clock.advance(CANCEL_WAIT)
            assert answers == [False]
            end = Record(successor.next_seq, 0, (Cancelled("client"),))
            await store.finish(successor, end)
            assert (await read_all(started.subscription))[-1] == end
