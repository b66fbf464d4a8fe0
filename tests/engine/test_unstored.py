"""A stream that is not to be stored: there for its readers and for its grace time, then without a trace."""

import anyio
import pytest

from headrace.config import Disconnect
from headrace.errors import NotFound, StoreError
from headrace.events import Cancelled, Finished
from headrace.stores.memory import MemoryStore
from tests.engine.rig import CANCEL, CONTINUE, GRACE, OPENING, OWNER, Rig, node, read_all, settle, words

pytestmark = pytest.mark.anyio


async def _ended(rig: Rig, policy: Disconnect = CONTINUE, key: str | None = None) -> str:
    """A stream that has ended, and whose only reader has left."""
    started = await rig.start(policy, key=key, stored=False)
    rig.call.say([OPENING], words("a"))
    rig.call.finish()
    await read_all(started.subscription)
    await settle()
    return started.stream_id


async def _later(rig: Rig, seconds: float) -> None:
    """Time in which everybody has a turn each second, as on a real clock."""
    for _ in range(int(seconds)):
        rig.clock.advance(1)
        await settle()


async def _is_there(rig: Rig, stream_id: str) -> bool:
    try:
        await rig.engine.info(stream_id, OWNER)
    except NotFound:
        return False
    return True


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("policy", "stays"), [(CANCEL, 30), (CONTINUE, 30), (GRACE, 30), (Disconnect("grace", 7.0), 7)], ids=str
)
async def test_it_is_gone_when_its_grace_time_is_over(policy: Disconnect, stays: int) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            stream_id = await _ended(rig, policy)
            await _later(rig, stays - 1)
            assert await _is_there(rig, stream_id)
            await _later(rig, 2)
            assert not await _is_there(rig, stream_id)
            assert not await rig.engine.list(OWNER, None, None, 10)


@pytest.mark.promise("P8", "P9")
async def test_a_reader_that_comes_in_time_gets_all_of_it_and_keeps_it() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            stream_id = await _ended(rig)
            await _later(rig, 29)
            late = await rig.engine.subscribe(stream_id, OWNER)
            await _later(rig, 100)
            assert isinstance((await read_all(late))[-1].terminal, Finished)
            await _later(rig, 29)
            assert await _is_there(rig, stream_id)
            await _later(rig, 2)
            assert not await _is_there(rig, stream_id)


@pytest.mark.promise("P8")
async def test_while_it_runs_the_policy_decides_as_for_any_other() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(GRACE, stored=False)
            rig.call.say([OPENING])
            await settle()
            started.subscription.close()
            await _later(rig, 29)
            assert (await rig.engine.info(started.stream_id, OWNER)).state == "running"
            await _later(rig, 2)
            assert isinstance((await rig.records(started.stream_id))[-1].terminal, Cancelled)
            await _later(rig, 31)
            assert not await _is_there(rig, started.stream_id)


async def test_its_request_is_never_in_the_store() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            stream_id = await _ended(rig)
            assert await rig.store.request(stream_id) == b""


@pytest.mark.promise("P10")
async def test_its_idempotency_key_goes_with_it() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            stream_id = await _ended(rig, key="k")
            again = await rig.start(key="k", stored=False)
            assert again.replayed and again.stream_id == stream_id
            again.subscription.close()
            await _later(rig, 31)
            assert isinstance(rig.store, MemoryStore)
            assert not rig.store._claims._held  # pyright: ignore[reportPrivateUsage]
            other = await rig.start(key="k", body=b'{"n": 2}', stored=False)
            assert not other.replayed
            await rig.engine.cancel(other.stream_id, OWNER)
            other.subscription.close()


async def test_one_that_somebody_deletes_leaves_nothing() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            stream_id = await _ended(rig)
            await rig.engine.delete(stream_id, OWNER)
            await _later(rig, 31)
            assert not rig.engine._unstored  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("problem", [StoreError("Down."), ZeroDivisionError()])
async def test_a_store_that_fails_is_asked_again_and_that_is_said_once(
    problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await _ended(rig)
            rig.provider.asked = 0  # the second is scripted as the first
            stream_id = await _ended(rig)
            delete = rig.store.delete

            async def fail(stream_id: str) -> None:
                raise problem

            rig.store.delete = fail
            await _later(rig, 40)
            assert await _is_there(rig, stream_id)
            assert caplog.text.count("2 streams were not to be stored, and could not be deleted") == 1
            rig.store.delete = delete
            await _later(rig, 1)
            assert not await _is_there(rig, stream_id)


@pytest.mark.promise("P11")
@pytest.mark.parametrize("running", [True, False])
async def test_the_engine_takes_what_is_left_with_it(running: bool) -> None:
    with anyio.fail_after(5):
        store = None
        async with node(drain=False) as rig:
            store = rig.store
            if running:
                started = await rig.start(CONTINUE, stored=False)
                rig.call.say([OPENING])
                await settle()
                started.subscription.close()
                stream_id = started.stream_id
            else:
                stream_id = await _ended(rig)
        with pytest.raises(NotFound):
            await store.status(stream_id)
