"""Readers come at any time, and read everything."""

import anyio
import anyio.lowlevel
import pytest

from headrace.dialects import DIALECTS
from headrace.dialects.cursor import Cursor
from headrace.engine.subscription import BATCH
from headrace.errors import InvalidCursor, NotFound
from headrace.events import RENDER_VERSION, Record
from headrace.transports.reader import Reader
from tests.engine.rig import OPENING, OWNER, Rig, node, read_all, settle, words

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P9")]


async def test_readers_that_attach_at_any_time_get_the_same_records() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            logs: list[list[Record]] = []

            async def read() -> None:
                logs.append(await read_all(await rig.engine.subscribe(started.stream_id, OWNER)))

            async with anyio.create_task_group() as tasks:
                for batch in ([], [OPENING], words("a"), words("b", "c"), []):
                    tasks.start_soon(read)
                    await settle()
                    if batch:
                        rig.call.say(batch)
                    await settle()
                rig.call.finish()
                logs.append(await read_all(started.subscription))
            await read()
            assert len(logs) == 7
            assert all(log == logs[0] for log in logs)
            assert rig.engine.readers(started.stream_id) == 0


async def _reader(rig: Rig, stream_id: str, code: str, position: int) -> Reader:
    name = {"c": "openai.chat", "n": "native", "t": "text"}[code]
    subscription = await rig.engine.subscribe(stream_id, OWNER)
    return Reader(subscription, DIALECTS[name], Cursor(code, RENDER_VERSION, "", position))


@pytest.mark.parametrize(("code", "units"), [("c", 4), ("n", 6), ("t", 2)])
async def test_a_reader_that_has_everything_is_told_so_and_one_beyond_is_refused(code: str, units: int) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words("a", "b"))
            await settle()
            early = await _reader(rig, started.stream_id, code, 0)
            assert await early.seek()
            rig.call.finish()
            await read_all(started.subscription)
            total = 0
            while frames := await early.next():
                total += sum(early.view.size(frame) for frame in frames)
            early.close()
            assert total == units
            for position in range(units + 1):
                reader = await _reader(rig, started.stream_id, code, position)
                assert await reader.seek() == (position < units)
                reader.close()
            beyond = await _reader(rig, started.stream_id, code, units + 1)
            with pytest.raises(InvalidCursor):
                await beyond.seek()
            beyond.close()


async def test_a_stream_can_be_read_until_its_retention_is_over() -> None:
    with anyio.fail_after(5):
        async with node(retention_seconds=3600.0) as rig:
            started = await rig.start()
            rig.call.finish()
            log = await read_all(started.subscription)
            rig.clock.advance(3599)
            assert await read_all(await rig.engine.subscribe(started.stream_id, OWNER)) == log
            rig.clock.advance(1)
            with pytest.raises(NotFound):
                await rig.engine.subscribe(started.stream_id, OWNER)


@pytest.mark.promise("P23")
async def test_a_long_replay_lets_others_run_between_its_batches() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words(*["x"] * (3 * BATCH)))
            rig.call.finish()
            await settle()
            turns: list[int] = []

            async def others() -> None:
                while True:
                    turns.append(0)
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(others)
                await settle_once()
                turns.clear()
                assert len(await read_all(started.subscription)) == 3 * BATCH + 4
                tasks.cancel_scope.cancel()
            assert len(turns) >= 3


async def settle_once() -> None:
    await anyio.lowlevel.checkpoint()


async def test_a_reader_that_is_cancelled_while_it_waits_loses_nothing() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            reader = await _reader(rig, started.stream_id, "n", 0)
            frames: list[Record] = []

            async def read_once(scope: anyio.CancelScope) -> None:
                with scope:
                    frames.extend(await reader.next())

            for turn in range(12):
                async with anyio.create_task_group() as tasks:
                    scope = anyio.CancelScope()
                    tasks.start_soon(read_once, scope)
                    if turn % 3 == 0:
                        await settle()
                    rig.call.say([OPENING] if turn == 0 else words(f"{turn}"))
                    for _ in range(turn % 5):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
            rig.call.finish()
            while more := await reader.next():
                frames += more
            reader.close()
            assert frames == await read_all(started.subscription)
