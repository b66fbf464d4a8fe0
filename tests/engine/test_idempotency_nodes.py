"""One key, one body, one stream: also when several nodes are asked at the same time, and when one of them dies."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from headrace.bodies import Body
from headrace.engine.clock import FakeClock
from headrace.engine.engine import Started
from headrace.engine.idempotency import MARGIN, POLL, IdempotencyKey
from headrace.errors import NotFound
from headrace.events import Cancelled, Failed, Finished, Record, Terminal
from headrace.stores.base import Lease, StreamInfo
from headrace.stores.memory import MemoryStore
from tests.engine.rig import OPENING, OWNER, Rig, memory_store, node, read_all, settle, words
from tests.engine.test_idempotency import SlowStore
from tests.engine.test_takeover import BEGUN, LEASE, STEP, leave_behind

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P10")]

KEY = IdempotencyKey.of(OWNER, "/v1/chat/completions", "k", b'{"n": 1}')


@asynccontextmanager
async def nodes(count: int, store: MemoryStore, clock: FakeClock) -> AsyncIterator[Sequence[Rig]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(node(store, clock)) for _ in range(count)]


class Asking:
    """Requests with one key that wait for their stream."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.started: list[Started] = []

    async def ask(self, rig: Rig | None = None) -> None:
        self.started.append(await (rig or self.rig).start(key="k"))

    async def waits(self, seconds: float) -> None:
        for _ in range(round(seconds / POLL)):
            self.rig.clock.advance(POLL)
            await settle()


@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
async def test_fifty_parallel_requests_to_three_nodes_make_one_upstream_call(kind: type[MemoryStore]) -> None:
    with anyio.fail_after(10):
        clock = FakeClock()
        async with nodes(3, kind(now=clock.wall), clock) as rigs, anyio.create_task_group() as tasks:
            asking = Asking(rigs[0])
            for number in range(50):
                tasks.start_soon(asking.ask, rigs[number % 3])
            await settle()
            await asking.waits(1)
            assert len(asking.started) == 50
            assert len({each.stream_id for each in asking.started}) == 1
            assert sum(not each.replayed for each in asking.started) == 1
            assert sum(rig.provider.asked for rig in rigs) == 1
            (producer,) = (rig for rig in rigs if rig.provider.asked)
            for rig in rigs:
                rig.made &= set() if rig is not producer else rig.made
            producer.call.say([OPENING, *words("a")])
            producer.call.finish()
            logs = [await read_all(each.subscription) for each in asking.started]
            assert all(log == logs[0] for log in logs)


class JustMade(MemoryStore):
    """Another node makes its stream right after somebody has looked for it."""

    lease: Lease | None = None

    async def status(self, stream_id: str) -> StreamInfo:
        if stream_id == "s" and self.lease is None:
            self.lease = await leave_behind(self, *BEGUN)
            await self.claim("made\n{s}", "s", LEASE)
            raise NotFound("It is not there yet.")
        return await super().status(stream_id)


async def test_a_stream_that_is_made_between_two_looks_is_joined() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = JustMade(now=clock.wall)
        async with node(store, clock) as rig, anyio.create_task_group() as tasks:
            asking = Asking(rig)
            await store.claim(KEY.name, KEY.claim("s"), LEASE)
            tasks.start_soon(asking.ask)
            await settle()
            await asking.waits(1)
            (joined,) = asking.started
            assert joined.replayed and joined.stream_id == "s" and rig.provider.asked == 0
            rig.made.clear()
            assert store.lease is not None
            await store.finish(store.lease, Record(4, 0, (Finished("stop"),)))
            await read_all(joined.subscription)


async def test_a_key_that_another_node_has_just_taken_is_waited_for_and_its_stream_joined() -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            asking = Asking(rig)
            await rig.store.claim(KEY.name, KEY.claim("s"), LEASE)
            tasks.start_soon(asking.ask)
            await settle()
            await asking.waits(LEASE / 2)
            assert asking.started == []
            lease = await leave_behind(rig.store, *BEGUN)
            await asking.waits(POLL)
            (joined,) = asking.started
            rig.made.clear()
            assert joined.replayed and joined.stream_id == "s" and rig.provider.asked == 0
            await rig.store.finish(lease, Record(4, 0, (Finished("stop"),)))
            await read_all(joined.subscription)


async def test_a_key_whose_node_died_before_it_made_the_stream_is_free_after_the_lease() -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            asking = Asking(rig)
            await rig.store.claim(KEY.name, KEY.claim("s"), LEASE)
            tasks.start_soon(asking.ask)
            await settle()
            await asking.waits(LEASE - 1)
            assert asking.started == []
            await asking.waits(1 + POLL)
            (started,) = asking.started
            assert not started.replayed
            rig.call.finish()
            await read_all(started.subscription)


async def test_a_key_with_a_long_life_and_no_stream_is_free_after_the_lease_too() -> None:
    """Its node could extend it, and not say that the stream was there; or somebody else made it."""
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            asking = Asking(rig)
            await rig.store.claim(KEY.name, KEY.claim("s"), 10 * LEASE)
            tasks.start_soon(asking.ask)
            await settle()
            await asking.waits(LEASE + MARGIN + 2 * POLL)
            (started,) = asking.started
            assert not started.replayed
            rig.call.finish()
            await read_all(started.subscription)


class Stuck(MemoryStore):
    """The first stream takes its time to be made."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(now=clock.wall)
        self.gate = anyio.Event()
        self.asked = 0

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        self.asked += 1
        if self.asked == 1:
            await self.gate.wait()
        return await super().acquire(stream_id, owner, request, ttl)


async def test_who_took_longer_than_a_lease_to_make_its_stream_joins_the_one_that_was_made_meanwhile() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = Stuck(clock)
        async with nodes(2, store, clock) as (slow, fast), anyio.create_task_group() as tasks:
            asking = Asking(slow)
            tasks.start_soon(asking.ask)
            await settle()
            tasks.start_soon(asking.ask, fast)
            await settle()
            await asking.waits(LEASE + POLL)
            (first,) = asking.started
            store.gate.set()
            await asking.waits(1)
            _, second = asking.started
            assert not first.replayed and second.replayed
            assert second.stream_id == first.stream_id
            assert (slow.provider.asked, fast.provider.asked) == (0, 1)
            slow.made.clear()
            assert [info.id for info in await store.list(OWNER, None, None, 10)] == [first.stream_id]
            fast.call.finish()
            for each in (first, second):
                await read_all(each.subscription)


LOST = Failed("producer_lost", "Gone.", retryable=True, status=503)


@pytest.mark.parametrize(
    ("said", "terminal", "replayed"),
    [
        ((), LOST, False),
        (((STEP,),), LOST, False),
        (BEGUN, LOST, True),
        ((), Cancelled("disconnect"), False),
        ((), Cancelled("client"), True),
        ((), Failed("upstream_auth", "No."), True),
        ((), Finished("stop"), True),
    ],
)
async def test_a_stream_that_failed_before_it_said_anything_is_not_replayed_though_its_node_kept_the_key(
    said: tuple[tuple[object, ...], ...], terminal: Terminal, replayed: bool
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            lease = await leave_behind(rig.store, *said)  # pyright: ignore[reportArgumentType]
            await rig.store.claim(KEY.name, KEY.claim("s"), 3600)
            await rig.store.finish(lease, Record(1 + len(said), 0, (terminal,)))
            started = await rig.start(key="k")
            assert started.replayed is replayed
            if replayed:
                rig.made.clear()
                started.subscription.close()
                return
            again = await rig.start(key="k")
            assert again.replayed and again.stream_id == started.stream_id
            rig.call.finish()
            for each in (started, again):
                await read_all(each.subscription)


async def test_the_key_of_a_lost_stream_that_said_nothing_is_free_for_another_body() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock) as rig:
            lease = await leave_behind(store)
            await store.claim(KEY.name, KEY.claim("s"), 3600)
            await store.finish(lease, Record(1, 0, (LOST,)))
            started = await rig.start(key="k", body=b'{"n": 2}')
            assert not started.replayed
            rig.call.finish()
            await read_all(started.subscription)


async def test_a_key_is_held_for_as_long_as_its_stream_and_not_for_a_lease() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with nodes(2, store, clock) as (here, there):
            first = await here.start(key="k")
            await settle()
            await Asking(here).waits(2 * LEASE)
            again = await there.start(key="k")
            there.made.clear()
            assert again.replayed and again.stream_id == first.stream_id
            here.call.finish()
            for each in (first, again):
                await read_all(each.subscription)
