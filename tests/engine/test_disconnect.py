"""What a leaving reader means: every policy, in every phase."""

import anyio
import pytest

from headrace.config import Disconnect
from headrace.events import Cancelled, Finished
from tests.engine.rig import (
    CANCEL,
    CONTINUE,
    GRACE,
    OPENING,
    OWNER,
    Rig,
    marker,
    node,
    read_all,
    settle,
    terminals,
    words,
)

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P8")]

PHASES = ("before its first turn", "queued", "before the first token", "middle")


async def _until(rig: Rig, phase: str) -> None:
    if phase == "before its first turn":
        return
    await settle()
    if phase != "queued":
        rig.call.say([OPENING])
    if phase == "middle":
        rig.call.say(words("a", "b"))
    await settle()


async def _state(rig: Rig, stream_id: str) -> str:
    return (await rig.engine.info(stream_id, OWNER)).state


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("policy", "after", "expected"),
    [
        (CANCEL, 0.0, "cancelled"),
        (GRACE, 29.9, "running"),
        (GRACE, 30.0, "cancelled"),
        (CONTINUE, 1500.0, "running"),
    ],
    ids=["cancel", "grace, in time", "grace, over", "continue"],
)
async def test_the_policy_decides_when_the_last_reader_leaves(
    policy: Disconnect, after: float, expected: str, phase: str
) -> None:
    with anyio.fail_after(5):
        async with node(total_timeout=1800.0) as rig:
            started = await rig.start(policy)
            await _until(rig, phase)
            started.subscription.close()
            await settle()
            rig.clock.advance(after)
            await settle()
            assert await _state(rig, started.stream_id) == expected
            if expected == "running":
                rig.call.finish()
                await settle()
                assert rig.timers() == 0
                assert terminals(await rig.records(started.stream_id)) == [Finished("stop")]
            else:
                assert rig.history in (["asked", "closed"], [])
                assert terminals(await rig.records(started.stream_id)) == [Cancelled("disconnect")]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("policy", [CANCEL, GRACE, CONTINUE], ids=str)
async def test_a_second_reader_keeps_the_stream_alive(policy: Disconnect, phase: str) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(policy)
            second = await rig.engine.subscribe(started.stream_id, OWNER)
            await _until(rig, phase)
            started.subscription.close()
            await settle()
            assert rig.timers() == 0
            rig.clock.advance(1000)
            await settle()
            assert await _state(rig, started.stream_id) == "running"
            rig.call.finish()
            assert terminals(await read_all(second)) == [Finished("stop")]


@pytest.mark.parametrize("phase", PHASES)
async def test_a_reader_that_comes_back_in_time_stops_the_clock(phase: str) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(GRACE)
            await _until(rig, phase)
            reader = started.subscription
            for _ in range(3):  # each leaving starts a new clock
                reader.close()
                await settle()
                rig.clock.advance(29)
                reader = await rig.engine.subscribe(started.stream_id, OWNER)
                await settle()
                assert rig.timers() == 0
            rig.clock.advance(1000)
            await settle()
            assert await _state(rig, started.stream_id) == "running"
            reader.close()
            rig.clock.advance(30)
            await settle()
            assert terminals(await rig.records(started.stream_id)) == [Cancelled("disconnect")]


async def test_a_reader_that_leaves_after_the_end_means_nothing() -> None:
    with anyio.fail_after(5):
        for policy in (CANCEL, GRACE):
            async with node() as rig:
                started = await rig.start(policy)
                rig.call.say([OPENING])
                rig.call.finish()
                log = await read_all(started.subscription)
                await settle()
                assert rig.timers() == 0
                assert await rig.records(started.stream_id) == log


async def test_a_reader_that_leaves_at_the_marker_does_not_cost_the_connection() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(CANCEL)
            rig.call.say([OPENING])
            rig.call.say(marker())
            await read_all(started.subscription)
            await settle()
            assert rig.history == ["asked"]  # the provider still hands its connection back
            rig.call.stop()
            await settle()
            assert rig.history == ["asked", "closed"]
