"""A log as lines: everything that was said, and a last line that says so."""

import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from headrace.bodies import Body, Pieces
from headrace.engine.clock import FakeClock
from headrace.engine.export import exported
from headrace.errors import NotFound
from headrace.events import (
    Finished,
    ItemStart,
    Record,
    StepEnd,
    StepStart,
    StreamStart,
    TextDelta,
    Usage,
)
from headrace.stores.base import StreamStore
from headrace.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio

ID = "4f2c" * 8
AT = 1_795_259_691_290
START = StreamStart(ID, "alice", AT // 1000, "demo", "openai.chat", meta={"ticket": "7"})
STEP = StepStart("openai", "gpt-4o-mini", "openai.chat", "up-1")
REQUEST = b'{"model": "demo", "messages": []}'


def log_of(*records: tuple[Any, ...], raw: bytes | None = None) -> list[Record]:
    made = [Record(0, AT, (START,)), *(Record(seq, AT + seq, events) for seq, events in enumerate(records, 1))]
    if raw is not None:
        made[1] = Record(1, AT + 1, made[1].events, msgspec.Raw(raw))
    return made


WHOLE = log_of(
    (STEP, ItemStart(0, "text"), TextDelta(0, "Hello")),
    (TextDelta(0, " wörld"),),
    (StepEnd("stop", Usage(1000, 2000)), Finished("stop")),
    raw=b'{"choices":[],"unknown":1}',
)


async def kept(records: list[Record], request: Body = REQUEST, **options: Any) -> MemoryStore:
    clock = FakeClock(AT / 1000)
    store = MemoryStore(now=clock.wall, settling=0, **options)
    lease = await store.acquire(ID, "alice", request, 10)
    *running, last = records
    if last.terminal is None:
        await store.append(lease, 0, records)
    else:
        await store.append(lease, 0, running)
        await store.finish(lease, last)
    return store


async def pieces_of(store: StreamStore) -> AsyncGenerator[bytes]:
    return exported(store, await store.status(ID), await store.request(ID))


async def export(store: StreamStore) -> bytes:
    return b"".join([piece async for piece in await pieces_of(store)])


def lines(data: bytes) -> list[Any]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data[:-1].split(b"\n")]


async def test_an_export_has_who_asked_what_each_record_with_its_time_and_the_cost() -> None:
    head, *records, end = lines(await export(await kept(WHOLE)))
    assert head == {
        "type": "stream",
        "version": 1,
        "id": ID,
        "owner": "alice",
        "model": "demo",
        "dialect": "openai.chat",
        "state": "finished",
        "created_ms": AT,
        "created": "2026-11-21T11:14:51.290Z",
        "ended_ms": AT,
        "ended": "2026-11-21T11:14:51.290Z",
        "metadata": {"ticket": "7"},
        "request": {"model": "demo", "messages": []},
    }
    assert [line["seq"] for line in records] == [0, 1, 2, 3]
    native = msgspec.json.decode(msgspec.json.encode(WHOLE))
    for line, record in zip(records, native, strict=True):
        assert line.pop("type") == "record"
        assert line.pop("time") == f"2026-11-21T11:14:51.{290 + record['seq']}Z"
        assert line == record
    assert records[1]["raw"] == {"choices": [], "unknown": 1}
    assert end.pop("cost_usd") == pytest.approx(1000 * 0.15e-6 + 2000 * 0.6e-6)
    assert end.pop("sha256")
    usage = {"input": 1000, "output": 2000, "cached": 0, "reasoning": 0, "source": "provider", "cache_write": 0}
    assert end == {"type": "end", "state": "finished", "records": 4, "usage": usage}


async def test_the_last_line_has_the_sum_of_all_before_it() -> None:
    data = await export(await kept(WHOLE))
    before, last = data[:-1].rsplit(b"\n", 1)
    assert json.loads(last)["sha256"] == hashlib.sha256(before + b"\n").hexdigest()


@pytest.mark.promise("P5")
async def test_what_there_is_of_a_running_stream_does_not_look_like_the_whole() -> None:
    store = await kept(WHOLE[:-1])
    head, *records, end = lines(await export(store))
    assert (head["state"], head["ended_ms"], head["ended"]) == ("running", None, None)
    assert len(records) == 3
    assert (end["type"], end["state"], end["records"]) == ("partial", "running", 3)


async def test_what_a_stream_says_after_it_was_looked_at_is_not_in_its_export() -> None:
    store = await kept(WHOLE[:-1])
    pieces = await pieces_of(store)
    data = await anext(pieces)
    store._streams[ID].records.append(WHOLE[-1])  # pyright: ignore[reportPrivateUsage]
    data += b"".join([piece async for piece in pieces])
    assert [line["type"] for line in lines(data)] == ["stream", "record", "record", "record", "partial"]


async def test_an_export_after_the_log_was_compressed_has_the_same_bytes() -> None:
    store = await kept(WHOLE)
    before = await export(store)
    while await store.tidy():
        pass
    assert store._streams[ID].archive is not None  # pyright: ignore[reportPrivateUsage]
    assert await export(store) == before


@pytest.mark.promise("P5")
async def test_the_export_of_a_stream_that_is_deleted_meanwhile_has_no_last_line() -> None:
    store = await kept(WHOLE)
    pieces = await pieces_of(store)
    assert json.loads(await anext(pieces))["type"] == "stream"
    await store.delete(ID)
    with pytest.raises(NotFound):
        await anext(pieces)


@pytest.mark.parametrize(
    "request_",
    [b'{\r\n  "text": "a\\nb",\n  "n": 1.0\r\n}\n', Pieces((b'{"text":', b'\n"a\\nb","n":1.0}'), 24)],
    ids=["in lines", "long"],
)
async def test_a_request_is_one_line_with_its_own_values(request_: Body) -> None:
    data = await export(await kept(WHOLE, request_))
    assert lines(data)[0]["request"] == {"text": "a\nb", "n": 1.0}
    assert b'"n": 1.0' in data or b'"n":1.0' in data


async def test_a_frame_of_several_lines_is_one_line_with_its_own_values() -> None:
    store = await kept(log_of((STEP,), (Finished("stop"),), raw=b'{\r\n "text": "a\\nb",\n "n": 1.0}'))
    data = await export(store)
    assert lines(data)[2]["raw"] == {"text": "a\nb", "n": 1.0}
    assert b'"n": 1.0' in data


async def test_a_request_that_was_not_to_be_stored_is_null() -> None:
    assert lines(await export(await kept(WHOLE, b"")))[0]["request"] is None


async def test_pieces_are_short_however_long_the_records_are() -> None:
    frame, texts = b'"' + b"x" * 3_000_000 + b'"', ["y" * 3_000_000, *map(str, range(4999))]
    store = await kept(log_of((STEP,), *((TextDelta(0, text),) for text in texts), raw=frame))
    pieces = [piece async for piece in await pieces_of(store)]
    assert max(map(len, pieces)) <= 2 * 64 * 1024
    assert len(lines(b"".join(pieces))) == 5004


async def test_long_records_are_read_few_at_a_time() -> None:
    asked: list[int] = []

    class Counting(MemoryStore):
        async def read(self, stream_id: str, after: int, limit: int) -> Any:
            asked.append(limit)
            return await super().read(stream_id, after, limit)

    store = Counting(now=FakeClock().wall)
    lease = await store.acquire(ID, "alice", REQUEST, 10)
    raw = msgspec.Raw(b'"' + b"x" * 300_000 + b'"')
    await store.append(lease, 0, [Record(0, AT, (START,)), *(Record(n, AT, (), raw) for n in range(1, 9))])
    assert len(lines(await export(store))) == 11
    assert set(asked) == {1}
