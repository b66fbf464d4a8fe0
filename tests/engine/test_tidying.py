"""The engine lets the store do what can wait, while it waits itself."""

import logging

import anyio
import pytest

from headrace.engine.clock import FakeClock
from headrace.engine.housekeeping import TIDYING
from headrace.errors import StoreError
from headrace.stores.memory import SETTLING, MemoryStore
from tests.engine.rig import OPENING, OWNER, Rig, memory_store, node, read_all, settle, words

pytestmark = pytest.mark.anyio

TOKENS = 600


class Troubled(MemoryStore):
    """Fails a number of times when it is asked to tidy."""

    error: Exception | None = None
    times = 0

    async def tidy(self) -> bool:
        if self.error is not None and self.times > 0:
            self.times -= 1
            raise self.error
        return await super().tidy()


async def ended(rig: Rig, number: int = 0) -> str:
    """A stream that has been read to its end."""
    started = await rig.start()
    call = rig.provider.call(number)
    call.say([OPENING], words(*(f" word{each}" for each in range(TOKENS))))
    call.finish()
    await read_all(started.subscription)
    await settle()
    return started.stream_id


async def pass_time(rig: Rig, seconds: float) -> None:
    for _ in range(int(seconds / TIDYING)):
        rig.clock.advance(TIDYING)
        await settle()


async def size(rig: Rig, stream_id: str) -> int:
    return (await rig.engine.info(stream_id, OWNER)).bytes


@pytest.mark.promise("P4", "P9")
async def test_an_ended_stream_is_compressed_by_itself_and_reads_as_before() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            stream_id = await ended(rig)
            records, before, answer = (
                await rig.records(stream_id),
                await size(rig, stream_id),
                await rig.engine.answer(stream_id),
            )
            await pass_time(rig, SETTLING + TIDYING)
            assert await size(rig, stream_id) < before / 10
            assert await rig.records(stream_id) == records
            assert await rig.engine.answer(stream_id) == answer
            late = await rig.engine.subscribe(stream_id, OWNER)
            assert await read_all(late) == records


async def test_an_idle_server_gives_back_what_has_expired() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock, retention=60)
        async with node(store, clock, retention_seconds=60) as rig:
            await ended(rig)
            rig.clock.advance(60)
            await settle()
            await pass_time(rig, TIDYING)
            assert not store._streams  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("error", "level"), [(StoreError("Away."), "WARNING"), (ValueError("defect"), "ERROR")])
async def test_a_store_that_cannot_tidy_ends_no_stream_and_is_asked_again(
    error: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    store = Troubled(now=clock.wall)
    store.error, store.times = error, 3
    with anyio.fail_after(5), caplog.at_level(logging.WARNING, "headrace.engine"):
        async with node(store, clock) as rig:
            await pass_time(rig, 3 * TIDYING)
            assert [record.levelname for record in caplog.records] == [level]
            caplog.clear()
            stream_id = await ended(rig)
            before = await size(rig, stream_id)
            await pass_time(rig, SETTLING + TIDYING)
            assert await size(rig, stream_id) < before
    assert not caplog.records
