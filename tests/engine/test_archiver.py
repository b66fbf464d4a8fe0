"""Ended streams reach the archive, once it takes them; what happens there is no stream's problem."""

import gzip
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from headrace.config import ApiKey, Secret
from headrace.engine import archiver
from headrace.engine.archiver import LONGEST_PAUSE, Archiver, key_of
from headrace.engine.clock import FakeClock
from headrace.engine.engine import LAST_READS
from headrace.engine.export import exported
from headrace.engine.observer import Observer
from headrace.errors import ArchiveError, StoreError
from headrace.stores.base import StreamInfo
from headrace.stores.memory import MemoryStore
from headrace.stores.objects import Place
from tests.engine.rig import OPENING, OWNER, Rig, memory_store, node, settle, words

pytestmark = pytest.mark.anyio


class Shelf:
    """Takes objects into a real directory, unless it is told to fail or to wait."""

    name = "the shelf"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._place = Place(Secret(f"file://{directory}"))
        self.problem: Exception | None = None
        self.gate = anyio.Event()
        self.gate.set()
        self.begun: list[str] = []
        self.looked = 0

    async def put(self, key: str, pieces: AsyncGenerator[bytes]) -> None:
        self.begun.append(key)
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        await self._place.put(key, pieces)

    async def has(self, key: str) -> bool:
        self.looked += 1
        if self.problem is not None:
            raise self.problem
        return await self._place.has(key)

    @property
    def ids(self) -> set[str]:
        return {file.name.removesuffix(".ndjson.gz") for file in self.directory.rglob("*.gz")}


class Results(Observer):
    def __init__(self) -> None:
        self.all: list[str] = []

    def archived(self, result: str) -> None:
        self.all.append(result)


async def ended(rig: Rig, *, stored: bool = True) -> str:
    """A stream that has finished."""
    started = await rig.start(stored=stored)
    started.subscription.close()
    await settle()
    call = rig.provider.call(rig.provider.asked - 1)
    call.say([OPENING, *words("Hello")])
    call.finish()
    await settle()
    return started.stream_id


async def until(rig: Rig, holds: Any) -> None:
    """Archiving goes through threads: wait for what it tells."""
    while not holds():  # noqa: ASYNC110
        await anyio.sleep(0.001)
    await settle()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


async def test_an_ended_stream_is_put_as_its_export(shelf: Shelf) -> None:
    results = Results()
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            stream_id = await ended(rig)
            await until(rig, lambda: not rig.engine.load.archiving)
            info = await rig.store.status(stream_id)
            export = [piece async for piece in exported(rig.store, info, await rig.store.request(stream_id))]
            # 1,000,000,000 s after 1970
            file = shelf.directory / "2001/09/09" / OWNER / f"{stream_id}.ndjson.gz"
            assert gzip.decompress(file.read_bytes()) == b"".join(export)
            assert json.loads(export[-1])["type"] == "end"
    assert results.all == ["archived"]


async def test_the_same_stream_gives_the_same_object(shelf: Shelf) -> None:
    with anyio.fail_after(5):
        async with node(objects=shelf) as rig:
            stream_id = await ended(rig)
            await until(rig, lambda: not rig.engine.load.archiving)
            (file,) = shelf.directory.rglob("*.gz")
            before = file.read_bytes()
            file.unlink()
            while await rig.store.tidy():
                pass
            store = rig.store
        async with node(store=store, objects=shelf, clock=rig.clock, api_keys=(ApiKey(OWNER, Secret("k")),)) as again:
            await until(again, lambda: stream_id in shelf.ids and not again.engine.load.archiving)
            assert file.read_bytes() == before


@pytest.mark.promise("P36")
async def test_what_is_not_to_be_stored_is_not_archived(shelf: Shelf) -> None:
    results = Results()
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            await ended(rig, stored=False)
            kept = await ended(rig)
            await until(rig, lambda: not rig.engine.load.archiving)
            assert shelf.ids == {kept}
    assert results.all == ["archived"]


async def test_an_archive_that_is_away_is_tried_again_and_later_each_time(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    results = Results()
    shelf.problem = ArchiveError("it cannot be reached")
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            stream_id = await ended(rig)
            await until(rig, lambda: len(results.all) == 1)
            assert rig.engine.load.archiving == 1
            for tries in range(2, 10):
                rig.clock.advance(min(2.0 ** (tries - 2), LONGEST_PAUSE))
                await until(rig, lambda tries=tries: len(results.all) == tries)
                await settle()
                assert len(results.all) == tries, "it did not wait"
            shelf.problem = None
            rig.clock.advance(LONGEST_PAUSE)
            await until(rig, lambda: not rig.engine.load.archiving)
            assert shelf.ids == {stream_id}
    assert results.all == ["failed"] * 9 + ["archived"]
    assert {each.message for each in caplog.records if each.name == "headrace.archive"} == {
        f"stream {stream_id}: not archived yet, it will be tried again: it cannot be reached"
    }


async def test_one_that_cannot_be_put_does_not_hold_up_the_others(shelf: Shelf) -> None:
    class Choosy(Shelf):
        refused = ""

        async def put(self, key: str, pieces: AsyncGenerator[bytes]) -> None:
            self.refused = self.refused or key
            if key == self.refused:
                raise ArchiveError("not this one")
            await super().put(key, pieces)

    choosy = Choosy(shelf.directory)
    with anyio.fail_after(5):
        async with node(objects=choosy) as rig:
            ids = [await ended(rig) for _ in range(10)]
            await until(rig, lambda: len(choosy.ids) == 9 and rig.engine.load.archiving == 1)
            assert choosy.ids == set(ids[1:])
            choosy.refused = "none"
            rig.clock.advance(LONGEST_PAUSE)
            await until(rig, lambda: not rig.engine.load.archiving)


async def test_streams_go_on_while_the_archive_hangs(shelf: Shelf) -> None:
    shelf.gate = anyio.Event()
    with anyio.fail_after(5):
        async with node(objects=shelf) as rig:
            ids = {await ended(rig) for _ in range(20)}
            assert len(shelf.begun) == archiver.CONCURRENCY
            assert rig.engine.load.archiving == 20
            shelf.gate.set()
            await until(rig, lambda: not rig.engine.load.archiving)
            assert shelf.ids == ids


async def test_what_waits_is_bounded(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(archiver, "MOST_WAITING", 3)
    results = Results()
    shelf.gate = anyio.Event()
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            ids = [await ended(rig) for _ in range(archiver.CONCURRENCY + 5)]
            assert results.all == ["lost"] * 2
            shelf.gate.set()
            await until(rig, lambda: not rig.engine.load.archiving)
            assert shelf.ids == set(ids[:-2])
    assert f"stream {ids[-1]}: not archived: 3 others wait" in caplog.messages


async def test_a_stream_that_is_gone_before_its_turn_is_lost_and_said(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    results = Results()
    shelf.problem = ArchiveError("Away.")
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            stream_id = await ended(rig)
            await until(rig, lambda: results.all == ["failed"])
            await rig.engine.delete(stream_id, OWNER)
            rig.clock.advance(1)
            await until(rig, lambda: not rig.engine.load.archiving)
    assert results.all == ["failed", "lost"]
    assert f"stream {stream_id}: not archived: it was deleted or has expired before" in caplog.messages


@pytest.mark.promise("P5")
async def test_a_stream_that_is_deleted_while_it_is_put_leaves_nothing(shelf: Shelf) -> None:
    results = Results()
    shelf.gate = anyio.Event()
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            stream_id = await ended(rig)
            await rig.engine.delete(stream_id, OWNER)
            shelf.gate.set()
            await until(rig, lambda: results.all == ["lost"])
    assert not list(shelf.directory.rglob("*.*"))


async def test_a_defect_is_logged_and_harms_nobody(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    results = Results()
    shelf.problem = ZeroDivisionError()
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            await ended(rig)
            await until(rig, lambda: results.all == ["lost"])
            shelf.problem = None
            await ended(rig)
            await until(rig, lambda: results.all == ["lost", "archived"])
    assert "defect" in caplog.text


@pytest.mark.promise("P11")
async def test_a_drain_waits_for_the_archive_and_tries_at_once_what_waits_for_another_try(shelf: Shelf) -> None:
    results = Results()
    shelf.problem = ArchiveError("Away.")
    with anyio.fail_after(5):
        async with node(objects=shelf, observers=[results]) as rig:
            stream_id = await ended(rig)
            await until(rig, lambda: results.all == ["failed"])
            shelf.problem = None
            await rig.engine.drain(25)
            assert shelf.ids == {stream_id}


@pytest.mark.promise("P11")
async def test_a_stream_that_the_drain_ends_is_archived_too(shelf: Shelf) -> None:
    with anyio.fail_after(5):
        async with node(objects=shelf) as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            await settle()
            started.subscription.close()
            await rig.engine.drain(0)
            assert shelf.ids == {started.stream_id}


@pytest.mark.promise("P11")
async def test_an_archive_that_hangs_does_not_hold_up_the_end(shelf: Shelf) -> None:
    shelf.gate = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, node(objects=shelf) as rig:
            await ended(rig)
            done = anyio.Event()

            async def drain() -> None:
                await rig.engine.drain(0)
                done.set()

            tasks.start_soon(drain)
            await settle()
            assert not done.is_set()
            rig.clock.advance(LAST_READS)
            await done.wait()
            shelf.gate.set()
            await until(rig, lambda: not rig.engine.load.archiving)


async def test_what_is_not_archived_at_the_end_is_said(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    shelf.gate = anyio.Event()
    with anyio.fail_after(5):
        async with node() as rig:
            ids = [await ended(rig) for _ in range(archiver.CONCURRENCY + 1)]
            archiving = Archiver(rig.store, shelf, rig.clock, Observer())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(archiving.run, ())
                for stream in rig.witness.ends:
                    archiving.ended(stream)
                await settle()
                tasks.cancel_scope.cancel()
    (message,) = (each for each in caplog.messages if "were not archived" in each)
    assert message.startswith("5 ended streams") and all(each in message for each in ids)


async def test_a_start_puts_what_an_earlier_process_could_not(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "_PAGE", 7)
    clock = FakeClock()
    store = memory_store(clock)
    with anyio.fail_after(10):
        async with node(store, clock) as rig:
            missing = [await ended(rig) for _ in range(20)]
            running = await rig.start(owner="other")
            await settle()
            async with node(store, clock, objects=shelf, api_keys=keys(OWNER, "other")) as later:
                await until(later, lambda: len(shelf.ids) == 20 and not later.engine.load.archiving)
                assert shelf.ids == set(missing)
            await rig.engine.cancel(running.stream_id, "other")
            running.subscription.close()
        begun = len(shelf.begun)
        async with node(store, clock, objects=shelf, api_keys=keys(OWNER)) as later:
            await until(later, lambda: shelf.looked >= 40)
            await settle()
        assert len(shelf.begun) == begun, "what is there was put again"


@pytest.mark.parametrize("fault", [ZeroDivisionError(), StoreError("Away.")])
async def test_a_look_back_that_fails_harms_nobody_and_is_taken_again(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    class Unlisted(MemoryStore):
        fault: Exception | None = None

        async def list(self, owner: str, state: Any, before: str | None, limit: int) -> Any:
            fault, self.fault = self.fault, None
            if fault is not None:
                raise fault
            return await super().list(owner, state, before, limit)

    clock = FakeClock()
    store = Unlisted(now=clock.wall)
    with anyio.fail_after(5):
        async with node(store, clock) as rig:
            earlier = await ended(rig)
        store.fault = fault
        async with node(store, clock, objects=shelf, api_keys=keys(OWNER)) as rig:
            later = await ended(rig)
            await until(rig, lambda: shelf.ids == {later})
            if isinstance(fault, StoreError):
                clock.advance(LONGEST_PAUSE)
                await until(rig, lambda: shelf.ids == {earlier, later})
            await until(rig, lambda: not rig.engine.load.archiving)
    assert "not archived yet" in caplog.text


@pytest.mark.parametrize("owner", [".", "..", "a.b", "a:b", "anonymous"])
def test_an_owner_is_one_part_of_the_name(owner: str) -> None:
    info = StreamInfo("4f2c", owner, "finished", 1, 1_795_259_691_290, None, 1)
    day, _, name = key_of(info).rpartition("/")
    assert (day.count("/"), name) == (3, "4f2c.ndjson.gz")
    assert not {".", ".."} & set(key_of(info).split("/"))


def keys(*names: str) -> tuple[ApiKey, ...]:
    return tuple(ApiKey(name, Secret(f"key-of-{name}")) for name in names)
