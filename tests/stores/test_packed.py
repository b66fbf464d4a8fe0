"""What holds for every store holds for one that has compressed whatever it can."""

import tracemalloc

import pytest

from headrace.bodies import Pieces
from headrace.errors import NotFound
from headrace.events import Record
from headrace.stores import archive
from headrace.stores.base import Lease
from headrace.stores.memory import SETTLING, MemoryStore
from tests.stores.contract import *  # noqa: F403 - the tests that every store passes
from tests.stores.contract import RETENTION, STREAM_LIMIT, TTL, Clock, Rig, end_of_stream, ids, tokens, whole_log

pytestmark = pytest.mark.anyio


class PackingStore(MemoryStore):
    """Compresses a stream at its end, in small blocks."""

    async def finish(self, lease: Lease, record: Record) -> None:
        await super().finish(lease, record)
        await pack(self)


async def pack(store: MemoryStore) -> int:
    """Let the store do what there is; how many steps it took."""
    steps = 1
    while await store.tidy():
        steps += 1
    return steps


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rig(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(archive, "BLOCK_RECORDS", 3)
    store = PackingStore(now=clock, retention=RETENTION, max_stream_bytes=STREAM_LIMIT, settling=0)
    return Rig(store, clock.advance)


@pytest.fixture
def plain(clock: Clock) -> Rig:
    """As it is by default: compressed when it is told to tidy, some seconds after the end."""
    return Rig(MemoryStore(now=clock, retention=RETENTION), clock.advance)


async def end(rig: Rig, stream_id: str = "s", records: int = 1000, request: bytes = b"{}") -> None:
    lease = await rig.store.acquire(stream_id, "ann", request, TTL)
    await rig.store.append(lease, 0, tokens(0, records))
    await rig.store.finish(lease, end_of_stream(records))


async def size(rig: Rig, stream_id: str = "s") -> int:
    return (await rig.store.status(stream_id)).bytes


def traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def total(rig: Rig) -> tuple[int, int]:
    store = rig.store
    assert isinstance(store, MemoryStore)
    return store._bytes, store._ended_bytes  # pyright: ignore[reportPrivateUsage]


async def tidy(rig: Rig) -> int:
    assert isinstance(rig.store, MemoryStore)
    return await pack(rig.store)


async def test_a_log_is_left_alone_until_it_has_settled(plain: Rig) -> None:
    await end(plain)
    before = await size(plain)
    await plain.advance(SETTLING - 1)
    assert not await plain.store.tidy()
    assert await size(plain) == before
    await plain.advance(1)
    assert await tidy(plain) > 1
    assert await size(plain) < before / 15


async def test_a_running_log_is_never_compressed(plain: Rig) -> None:
    lease = await plain.store.acquire("s", "ann", b"{}", TTL)
    await plain.store.append(lease, 0, tokens(0, 1000))
    before = await size(plain)
    await plain.advance(RETENTION)
    assert not await plain.store.tidy()
    assert await size(plain) == before


@pytest.mark.promise("P23")
async def test_a_long_log_is_compressed_in_many_small_steps(plain: Rig) -> None:
    await end(plain, records=20_000)
    await plain.advance(SETTLING)
    steps = 20_000 // archive.BLOCK_RECORDS
    assert await tidy(plain) >= 2 * steps  # a step to compress a block, and one to free the records


async def test_the_accounts_say_what_python_allocates(plain: Rig) -> None:
    request = b'{"messages":[{"role":"user","content":"Tell me a story."}]}' * 20
    await end(plain, "first", request=request)
    await plain.advance(SETTLING)
    await tidy(plain)  # what the first use of everything allocates stays out of the count
    accounted = total(plain)
    tracemalloc.start()
    try:
        before = traced()
        for number in range(50):
            await end(plain, f"s{number}", request=bytes(request))
        await plain.advance(SETTLING)
        await tidy(plain)
        allocated = traced() - before
    finally:
        tracemalloc.stop()
    assert [now - then for now, then in zip(total(plain), accounted, strict=True)] == pytest.approx(
        [allocated] * 2, rel=0.15
    )


@pytest.mark.promise("P24")
async def test_all_room_comes_back_however_a_compressed_stream_goes(plain: Rig) -> None:
    await end(plain, "deleted")
    await end(plain, "expired")
    await plain.advance(SETTLING)
    await tidy(plain)
    await plain.store.delete("deleted")
    await plain.advance(RETENTION)
    await plain.store.tidy()
    assert await ids(plain) == []
    assert total(plain) == (0, 0)


@pytest.mark.promise("P24")
async def test_compression_makes_room_for_more_finished_streams(clock: Clock) -> None:
    store = MemoryStore(now=clock, retention=RETENTION, max_bytes=2**20)
    rig = Rig(store, clock.advance)
    for number in range(20):  # each takes a quarter of the room
        await end(rig, f"s{number}")
        await rig.advance(SETTLING)
        await tidy(rig)
    assert len(await ids(rig)) == 20
    assert total(rig)[0] <= 2**20


@pytest.mark.parametrize("steps", [1, 3, 6, 8])
async def test_a_stream_may_go_while_it_is_being_compressed(plain: Rig, steps: int) -> None:
    await end(plain, "going")
    await end(plain, "staying")
    await plain.advance(SETTLING)
    for _ in range(steps):
        assert await plain.store.tidy()
    await plain.store.delete("going")
    await tidy(plain)
    with pytest.raises(NotFound):
        await plain.store.read("going", -1, 1)
    assert await whole_log(plain, "staying") == [*tokens(0, 1000), end_of_stream(1000)]
    await plain.store.delete("staying")
    assert total(plain) == (0, 0)


async def test_what_was_read_before_stays_and_reading_goes_on_in_the_archive(plain: Rig) -> None:
    await end(plain)
    first = await plain.store.read("s", -1, 400)
    await plain.advance(SETTLING)
    await tidy(plain)
    rest = await plain.store.read("s", 399, 1000)
    assert [*first, *rest] == [*tokens(0, 1000), end_of_stream(1000)]


async def test_the_request_is_compressed_too(plain: Rig) -> None:
    request = b'{"role":"user","content":"Tell me a story."}' * 5000
    await end(plain, records=1, request=request)
    await plain.advance(SETTLING)
    await tidy(plain)
    kept = await plain.store.request("s")
    assert isinstance(kept, Pieces)
    assert b"".join(kept.parts) == request
    assert total(plain)[0] < len(request) / 20


async def test_streams_that_ended_while_others_were_compressed_follow(plain: Rig) -> None:
    await end(plain, "early")
    await plain.advance(SETTLING)
    assert await plain.store.tidy()
    await end(plain, "late")
    await tidy(plain)
    assert await size(plain, "early") < 20_000 < await size(plain, "late")
    await plain.advance(SETTLING)
    await tidy(plain)
    assert await size(plain, "late") < 20_000
