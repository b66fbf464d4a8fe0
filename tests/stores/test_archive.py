import random
import sys
from collections.abc import Sequence
from typing import Any, cast, get_args

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headrace.engine.subscription import BATCH
from headrace.events import Attrs, Event, ObjectValue, Record, TextDelta, ToolResult
from headrace.stores import archive as module
from headrace.stores.archive import BLOCK_BYTES, BLOCK_RECORDS, Archive, blocks, pieces
from headrace.stores.weight import weigh
from tests.strategies import events, odd_values, records_of

pytestmark = pytest.mark.anyio

AT = 1_700_000_000_000
KILOBYTE = 1024


def archived(records: Sequence[Record]) -> Archive:
    archive = Archive()
    for block in blocks(records):
        archive.add(block)
    return archive


def token(seq: int, text: str = "token") -> Record:
    return Record(seq, AT + seq, (TextDelta(0, text),))


def log(size: int) -> list[Record]:
    return [token(seq, f" t{seq}") for seq in range(size)]


def exact(value: object) -> object:
    """The value with all types in it: `==` takes 1 for 1.0 and for True, and no NaN for itself."""
    if isinstance(value, msgspec.Struct):
        return type(value), [exact(each) for each in msgspec.structs.astuple(value)]
    if isinstance(value, dict):
        return [(exact(key), exact(each)) for key, each in cast("dict[object, object]", value).items()]
    if isinstance(value, list | tuple):
        return type(value), [exact(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, msgspec.Raw):
        return msgspec.Raw, bytes(value)
    return type(value), repr(value)


def logs_of(values: SearchStrategy[Any]) -> SearchStrategy[list[Record]]:
    def numbered(size: int) -> SearchStrategy[list[Record]]:
        return st.tuples(*(records_of(seq, values) for seq in range(size))).map(list)

    return st.integers(1, 8).flatmap(numbered)


# What comes back


@pytest.mark.promise("P17")
async def test_raw_frames_and_logprobs_come_back_byte_for_byte() -> None:
    frame = b'{"a" : 1.10e3,\t"b":"\\u00e9 \\/ \xc3\xa9", "a":null, "n":123456789012345678901234567890}'
    records = [
        Record(0, AT, (), msgspec.Raw(frame)),
        Record(1, AT, (TextDelta(0, "x", msgspec.Raw(frame)), TextDelta(0, "y"))),
        Record(2, AT, (), msgspec.Raw(b"null")),
        Record(3, AT, ()),
        *(token(seq) for seq in range(4, 40)),
    ]
    archive = archived(records)
    assert archive.bytes < weigh(records) / 4
    back = await archive.read(0, 4)
    assert [each.raw and bytes(each.raw) for each in back] == [frame, None, b"null", None]
    first = back[1].events[0]
    assert isinstance(first, TextDelta)
    assert first.logprobs is not None
    assert bytes(first.logprobs) == frame


@pytest.mark.promise("P4", "P17")
@pytest.mark.parametrize(
    "event",
    [
        ToolResult("call", float("nan")),
        ToolResult("call", {"a": float("-inf")}),
        ToolResult("call", (1, 2)),
        ToolResult("call", {1: "a"}),
        ToolResult("call", b"bytes"),
        ToolResult("call", object()),
        ObjectValue(0, {"a": {1, 2}}),
        Attrs({"a": msgspec.Raw(b"1")}),
        TextDelta(0, "\ud83d"),
        TextDelta(0, "a", msgspec.Raw(b" 1 ")),
        TextDelta(0, "a", msgspec.Raw(b"no JSON")),
    ],
    ids=["nan", "inf", "tuple", "int-key", "bytes", "object", "set", "raw", "surrogate", "space", "no-json"],
)
async def test_what_json_does_not_give_back_is_kept_as_it_is(event: Event) -> None:
    records = [token(0), Record(1, AT, (event,)), token(2)]
    archive = archived(records)
    assert (await archive.read(1, 1))[0] is records[1]
    assert archive.bytes >= weigh(records)


@pytest.mark.promise("P4", "P17")
@given(logs_of(odd_values))
async def test_every_record_comes_back_exactly_whatever_its_events_hold(records: list[Record]) -> None:
    archive = archived(records)
    assert exact(list(await archive.read(0, len(records)))) == exact(records)


@pytest.mark.promise("P4", "P17")
@given(st.lists(events(), min_size=1, max_size=12))
def test_every_type_of_event_is_compressed_and_comes_back_exactly(some: list[Event]) -> None:
    records = [Record(seq, AT, (event,)) for seq, event in enumerate(some)]
    packed = module._pack(records)  # pyright: ignore[reportPrivateUsage]
    assert packed is not None
    assert exact(list(module._unpack(packed))) == exact(records)  # pyright: ignore[reportPrivateUsage]


def test_the_events_of_the_strategy_are_all_that_there_are() -> None:
    seen: set[type[Event]] = set()

    @settings(max_examples=500, database=None)
    @given(events())
    def look(event: Event) -> None:
        seen.add(type(event))

    look()
    assert seen == set(get_args(Event))


async def test_a_value_nested_deeper_than_the_stack_allows_comes_back() -> None:
    depth = sys.getrecursionlimit() + 200
    value: Any = None
    for _ in range(depth):
        value = [value]
    archive = archived([Record(0, AT, (ToolResult("call", value),))])
    event = (await archive.read(0, 1))[0].events[0]
    assert isinstance(event, ToolResult)
    found, inner = 0, event.output
    while inner is not None:
        found, (inner,) = found + 1, inner
    assert found == depth


# Reading


@pytest.mark.promise("P4")
@given(st.integers(0, 3 * BLOCK_RECORDS + 5), st.integers(0, 900), st.integers(0, 900))
async def test_a_read_from_any_position_is_a_slice_of_the_log(size: int, start: int, limit: int) -> None:
    records = log(size)
    archive = archived(records)
    assert len(archive) == size
    assert list(await archive.read(start, limit)) == records[start : start + limit]


async def test_a_reader_decodes_every_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = module._decode  # pyright: ignore[reportPrivateUsage]

    def counting(data: bytes) -> list[Record]:
        records = decode(data)
        decoded.append(records[0].seq)
        return records

    records = log(5 * BATCH // 2)
    archive = archived(records)
    monkeypatch.setattr(module, "_decode", counting)
    seen: list[Record] = []
    while part := await archive.read(len(seen), BATCH):
        seen += part
    assert seen == records
    assert decoded == list(range(0, len(records), BLOCK_RECORDS))


@pytest.mark.promise("P23")
async def test_others_run_between_two_blocks() -> None:
    archive = archived(log(4 * BLOCK_RECORDS))
    turns = 0
    done = False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await archive.read(0, BATCH)
            done = True
    assert turns >= 3


# The size of a step


sizes = st.lists(st.sampled_from([1, 5, 300, 5000, 60_000, BLOCK_BYTES, 200_000]), max_size=40)


@pytest.mark.promise("P23")
@given(sizes)
async def test_a_block_is_small_or_a_single_record(lengths: list[int]) -> None:
    records = [token(seq, "x" * length) for seq, length in enumerate(lengths)]
    cut = list(blocks(records))
    assert [record for block in cut for record in block] == records
    assert all(len(block) == 1 or weigh(block) <= BLOCK_BYTES for block in cut)
    assert all(len(block) <= BLOCK_RECORDS for block in cut)
    assert list(await archived(records).read(0, len(records))) == records


def test_blocks_of_tokens_are_full() -> None:
    assert [len(block) for block in blocks(log(1001))] == [BLOCK_RECORDS] * 4 + [1]
    assert BATCH % BLOCK_RECORDS == 0


async def test_a_record_of_a_megabyte_is_not_touched() -> None:
    large = Record(0, AT, (), msgspec.Raw(b"1" * 2**20))
    archive = archived([large])
    assert (await archive.read(0, 1))[0] is large
    assert archive.bytes >= 2**20


# The request


@given(st.binary(max_size=2000), st.integers(1, 300))
async def test_the_request_comes_back(start: bytes, times: int) -> None:
    request = start * times
    archive = Archive()
    for piece in pieces(request):
        assert len(piece) <= BLOCK_BYTES
        archive.add_request(piece)
    assert await archive.request() == request


def test_text_is_compressed_and_images_cost_no_time() -> None:
    archive = Archive()
    text = b'{"role":"user","content":"Tell me a story of a hundred words."}' * 500
    archive.add_request(text)
    assert archive.request_bytes < len(text) / 20
    noise = random.Random(0).randbytes(8 * KILOBYTE)
    before = archive.request_bytes
    archive.add_request(noise + text)
    assert archive.request_bytes - before >= len(noise)
