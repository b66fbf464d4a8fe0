"""With `backpressure: pause` the slowest reader holds the upstream back, within bounds; without it nobody does."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from headrace.engine.subscription import Subscription
from headrace.events import Failed, Finished, Record
from tests.engine.rig import OPENING, OWNER, Rig, marker, node, read_all, settle, terminals, words

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P23")]

LAG = 4
PAUSE = 30.0


PAUSING: dict[str, Any] = {"backpressure": "pause", "pause_lag": LAG, "pause_timeout": PAUSE}


def say(rig: Rig, count: int) -> None:
    """So many reads of one word each."""
    rig.call.say(*(words(f"{number} ") for number in range(count)))


def unread(rig: Rig) -> int:
    """Reads that the upstream has ready and that the relay has not asked for."""
    return rig.call.steps.qsize()


async def take(subscription: Subscription, count: int) -> Sequence[Record]:
    """Take so many records and come back for more, once they are there."""
    taken: list[Record] = []
    while len(taken) < count and not subscription.ended:
        taken += await subscription.next(count - len(taken))
    await subscription.available(0)
    await settle()
    return taken


async def begin(rig: Rig) -> Subscription:
    started = await rig.start()
    rig.call.say([OPENING])
    return started.subscription


async def test_the_upstream_is_read_while_readers_follow_and_not_while_one_is_behind() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            reader = await begin(rig)
            say(rig, 20)
            await settle()
            # In the log: record 0, the opening and the words that make one more than the lag.
            assert unread(rig) == 20 - (LAG + 1 - 2)
            assert len(await take(reader, 1)) == 1
            assert unread(rig) == 20 - (LAG + 2 - 2)
            await take(reader, LAG)
            assert unread(rig) == 20 - (2 * LAG + 2 - 2)
            rig.call.finish()
            assert len(await read_all(reader)) == 24 - 1 - LAG


async def test_without_it_a_reader_that_takes_nothing_holds_nothing_up() -> None:
    with anyio.fail_after(5):
        async with node(pause_lag=LAG) as rig:
            reader = await begin(rig)
            say(rig, 20)
            await settle()
            assert unread(rig) == 0
            rig.call.finish()
            assert len(await read_all(reader)) == 24


async def test_the_slowest_of_all_readers_counts() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            slow = await begin(rig)
            quick = await rig.engine.subscribe(slow.stream_id, OWNER)
            say(rig, 20)
            await settle()
            before = unread(rig)
            await take(quick, LAG)
            assert unread(rig) == before
            slow.close()
            await settle()
            assert unread(rig) < before
            rig.call.finish()
            await read_all(quick)


async def test_nobody_is_waited_for_when_nobody_reads() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            reader = await begin(rig)
            reader.close()
            say(rig, 20)
            rig.call.finish()
            await settle()
            assert (await rig.engine.info(reader.stream_id, OWNER)).state == "finished"


async def test_a_pause_ends_and_the_reader_is_not_waited_for_again_until_it_has_caught_up() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            reader = await begin(rig)
            say(rig, 20)
            await settle()
            rig.clock.advance(PAUSE - 1)
            await settle()
            assert unread(rig) > 0
            rig.clock.advance(1)
            await settle()
            assert unread(rig) == 0
            await take(reader, 22)
            say(rig, 20)
            await settle()
            assert unread(rig) == 20 - (LAG + 1)
            reader.close()
            rig.call.finish()


async def test_a_reader_that_comes_late_counts_once_it_has_caught_up() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            reader = await begin(rig)
            stream_id = reader.stream_id
            reader.close()
            say(rig, 20)
            await settle()
            late = await rig.engine.subscribe(stream_id, OWNER)
            say(rig, 5)
            await settle()
            assert unread(rig) == 0
            await take(late, 27)
            say(rig, 20)
            await settle()
            assert unread(rig) == 20 - (LAG + 1)
            late.close()
            rig.call.finish()


async def test_stop_works_while_paused() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            reader = await begin(rig)
            say(rig, 20)
            await settle()
            assert await rig.engine.cancel(reader.stream_id, OWNER)
            assert rig.history == ["asked", "closed"]
            await read_all(reader)


async def test_the_idle_deadline_does_not_count_while_paused_and_counts_again_after() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING, stream_idle_timeout=8.0) as rig:
            reader = await begin(rig)
            say(rig, 6)
            await settle()
            assert unread(rig) > 0
            for _ in range(20):
                rig.clock.advance(1)
                await settle()
            records = list(await take(reader, 8))
            assert terminals(records) == []
            for _ in range(9):
                rig.clock.advance(1)
                await settle()
            (terminal,) = terminals(await read_all(reader))
            assert isinstance(terminal, Failed) and terminal.code == "upstream_idle_timeout"


async def test_the_total_deadline_counts_while_paused() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING, total_timeout=8.0) as rig:
            reader = await begin(rig)
            say(rig, 20)
            await settle()
            for _ in range(9):
                rig.clock.advance(1)
                await settle()
            (terminal,) = terminals(await read_all(reader))
            assert isinstance(terminal, Failed) and terminal.code == "upstream_total_timeout"


async def test_the_end_is_written_however_far_a_reader_is_behind() -> None:
    with anyio.fail_after(5):
        async with node(**PAUSING) as rig:
            reader = await begin(rig)
            rig.call.say(words(*"abcdefgh") + marker())
            rig.call.stop()
            await settle()
            assert (await rig.engine.info(reader.stream_id, OWNER)).state == "finished"
            assert terminals(await read_all(reader)) == [Finished("stop")]
