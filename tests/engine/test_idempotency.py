"""One key, one body, one stream."""

import anyio
import anyio.lowlevel
import msgspec
import pytest

from headrace import errors
from headrace.bodies import Body
from headrace.config import Disconnect
from headrace.engine.clock import FakeClock
from headrace.engine.engine import Started
from headrace.engine.idempotency import IdempotencyKey
from headrace.errors import IdempotencyKeyReused, LogFull
from headrace.events import Chunk, StepStart
from headrace.stores.memory import MemoryStore
from tests.engine.rig import CANCEL, CONTINUE, OPENING, OWNER, Rig, node, order, read_all, settle, words
from tests.stores.waiting import WaitingStore

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P10")]


class SlowStore(WaitingStore):
    """As a store across a network: every call takes a few turns, before and after it happens."""

    refuse_first = False

    async def claim(self, name: str, value: str, ttl: float) -> str:
        return await self._slowly(super().claim(name, value, ttl))

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float):
        for _ in range(9):
            await anyio.lowlevel.checkpoint()
        if self.refuse_first:
            self.refuse_first = False
            raise LogFull("full")
        return await self._slowly(super().acquire(stream_id, owner, request, ttl))

    async def append(self, lease, first_seq, records) -> None:
        await self._slowly(super().append(lease, first_seq, records))

    async def status(self, stream_id: str):
        return await self._slowly(super().status(stream_id))

    async def release(self, name: str, value: str) -> None:
        await self._slowly(super().release(name, value))

    async def _slowly(self, call):
        await anyio.lowlevel.checkpoint()
        try:
            return await call
        finally:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
async def test_fifty_parallel_starts_make_one_upstream_call(store: type[MemoryStore]) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        async with node(store(now=clock.wall), clock) as rig:
            started = await _start_in_parallel(rig, 50)
            assert rig.provider.asked == 1
            assert len({each.stream_id for each in started}) == 1
            assert sorted(each.replayed for each in started) == [False] + [True] * 49
            rig.call.say([OPENING], words("a"))
            rig.call.finish()
            logs = [await read_all(each.subscription) for each in started]
            assert all(log == logs[0] for log in logs)
            late = await rig.start(key="k")
            assert late.replayed
            assert await read_all(late.subscription) == logs[0]


async def test_a_start_that_fails_hands_the_key_to_who_waits_for_it() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = SlowStore(now=clock.wall)
        store.refuse_first = True
        async with node(store, clock) as rig:
            failures: list[LogFull] = []
            started = await _start_in_parallel(rig, 5, failures)
            assert len(failures) == 1
            assert len(started) == 4
            assert rig.provider.asked == 1
            rig.call.finish()
            for each in started:
                await read_all(each.subscription)


async def _start_in_parallel(rig: Rig, count: int, failures: list[LogFull] | None = None) -> list[Started]:
    started: list[Started] = []

    async def start() -> None:
        try:
            started.append(await rig.start(key="k"))
        except LogFull as error:
            assert failures is not None
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(start)
    await settle()
    return started


async def test_another_body_is_refused_and_the_same_one_written_otherwise_is_not() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(key="k", body=b'{"a": 1, "b": [2]}')
            again = await rig.start(key="k", body=b'{"b":[2],"a":1}')
            assert again.stream_id == started.stream_id
            with pytest.raises(IdempotencyKeyReused) as refused:
                await rig.start(key="k", body=b'{"a": 1, "b": [2], "stream": true}')
            assert refused.value.status == 422
            rig.call.finish()
            for each in (started, again):
                await read_all(each.subscription)


RETRYABLE, FINAL = errors.UpstreamUnavailable("x"), errors.UpstreamAuth("x")


@pytest.mark.parametrize(
    ("before", "ending", "released"),
    [
        ([], RETRYABLE, True),
        ([OPENING], RETRYABLE, True),
        ([OPENING, *words("a")], RETRYABLE, False),
        ([], FINAL, False),
        ([], "disconnect", True),
        ([Chunk((StepStart("scripted", "m"),))], "disconnect", True),
        ([OPENING, *words("a")], "disconnect", False),
        ([], "client", False),
        ([OPENING, *words("a")], "finish", False),
    ],
)
async def test_a_key_is_free_again_only_when_nothing_was_said_and_a_retry_may_help(
    before: list[Chunk], ending: errors.HeadraceError | str, released: bool
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            policy: Disconnect = CANCEL if ending == "disconnect" else CONTINUE
            first = await rig.start(policy, key="k")
            await settle()
            if before:
                rig.call.say(before)
            await settle()
            if isinstance(ending, errors.HeadraceError):
                rig.call.fail(ending)
            elif ending == "client":
                await rig.engine.cancel(first.stream_id, OWNER)
            elif ending == "finish":
                rig.call.finish()
            first.subscription.close()
            await settle()
            second = await rig.start(key="k")
            assert second.replayed is not released
            await settle()
            assert rig.provider.asked == (2 if released else 1)
            rig.provider.call(1).finish()
            await read_all(second.subscription)


@pytest.mark.parametrize("body", [b'{"n": 1}', b'{"n": 2}'], ids=["same body", "another body"])
@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_the_key_of_a_stream_that_is_no_more_is_free_again(how: str, body: bytes) -> None:
    with anyio.fail_after(5):
        async with node(retention_seconds=100.0) as rig:
            first = await rig.start(key="k")
            rig.call.finish()
            await read_all(first.subscription)
            if how == "deleted":
                await rig.engine.delete(first.stream_id, OWNER)
            else:
                rig.clock.advance(100)
            second = await rig.start(key="k", body=body)
            assert not second.replayed
            rig.provider.call(1).finish()
            await read_all(second.subscription)


async def test_a_finished_stream_keeps_its_key_as_long_as_it_can_be_read() -> None:
    with anyio.fail_after(5):
        async with node(retention_seconds=3600.0, total_timeout=10.0) as rig:
            first = await rig.start(key="k")
            rig.clock.advance(3605)
            rig.call.finish()
            log = await read_all(first.subscription)
            await settle()
            rig.clock.advance(3599)
            again = await rig.start(key="k")
            assert again.replayed
            assert await read_all(again.subscription) == log


async def test_keys_of_different_owners_have_nothing_to_do_with_each_other() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            mine = await rig.start(key="k")
            theirs = order(rig.provider, key=None)
            key = IdempotencyKey.of("else", "/v1/chat/completions", "k", b'{"n": 1}')
            other = await rig.engine.start(msgspec.structs.replace(theirs, owner="else", key=key))
            assert other.stream_id != mine.stream_id
            for index, started in enumerate((mine, other)):
                rig.provider.call(index).finish()
                await read_all(started.subscription)
