"""P17: what a Messages server says reaches a Messages client."""

import json
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events import Failed, Record, StepEnd
from tests.dialects.anthropic_messages.frames import (
    DONE,
    FIXTURES,
    PUBLIC,
    WHOLE,
    Frame,
    block,
    data_of,
    decoded,
    delta,
    end,
    fragment,
    lines,
    public,
    read,
    records_of,
    sent,
    shown,
    start,
    stop,
    text,
    through,
)
from tests.strategies import json_values, texts


class Op(NamedTuple):
    kind: str
    pieces: list[str]
    extra: dict[str, Any]
    """Fields that nobody knows, of the block."""
    odd: bool
    """Whether its first piece has one as well."""


_FIELD = {"text": "text", "thinking": "thinking", "tool_use": "partial_json", "server_tool_use": "partial_json"}
_PIECE = {"text": "text_delta", "thinking": "thinking_delta"}
_BEGUN = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "redacted_thinking": {"data": "c2VjcmV0"},
}
ops = st.builds(
    Op,
    st.sampled_from([*_FIELD, "redacted_thinking", "web_search_tool_result"]),
    st.lists(texts, max_size=3),
    st.dictionaries(st.sampled_from(["x", "citations", "caller"]), json_values, max_size=2),
    st.booleans(),
)


def frames_of(ops: list[Op], overlapping: bool) -> list[Frame]:
    """An answer as a server sends it; with `overlapping` all blocks are open until the end."""
    frames = [start()]
    stops: list[Frame] = []
    for index, op in enumerate(ops):
        fields: dict[str, Any] = _BEGUN.get(op.kind, {"id": f"toolu_{index}", "name": "f", "input": {}})
        frames.append(block(index, op.kind, **{**op.extra, **fields}))
        if field := _FIELD.get(op.kind):
            for number, piece in enumerate(op.pieces):
                odd = {"odd": 1.5} if op.odd and not number else {}
                frames.append(delta(index, _PIECE.get(op.kind, "input_json_delta"), **{field: piece}, **odd))
        if op.kind == "thinking":
            frames.append(delta(index, "signature_delta", signature="c2ln=="))
        stops.append(stop(index))
        if not overlapping:
            frames.append(stops.pop())
    return [*frames, *stops, end(), DONE]


answers = st.builds(frames_of, st.lists(ops, max_size=5), st.booleans())


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_a_servers_events_arrive_one_by_one_as_they_were_sent(name: str):
    assert through(sent(name)) == public(sent(name))


@pytest.mark.promise("P17")
@settings(max_examples=200)
@given(answers)
def test_random_events_arrive_one_by_one_as_they_were_sent(frames: list[Frame]):
    assert through(frames) == public(frames)


@pytest.mark.promise("P17")
@settings(max_examples=150)
@given(answers)
def test_what_a_reader_gets_is_decoded_to_the_same_events(frames: list[Frame]):
    """A Headrace behind a Headrace sees what the first one saw."""
    first = decoded(lines(frames))
    second = decoded(shown(records_of(first)))
    assert [chunk.events for chunk in second[1:]] == [chunk.events for chunk in first[1:]]
    assert [chunk.raw for chunk in second[1:]] == [chunk.raw for chunk in first[1:]]
    (begun,), (again,) = first[0].events, second[0].events
    assert again == msgspec.structs.replace(begun, model="demo", upstream_id=PUBLIC["id"])


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_a_copy_of_a_store_shows_the_same(name: str):
    records = records_of(decoded(data_of(FIXTURES[name])))
    stored = msgspec.json.decode(msgspec.json.encode(records), type=list[Record])
    assert stored == records
    assert shown(stored) == shown(records)


@pytest.mark.promise("P17")
def test_signatures_numbers_and_strings_of_unknown_fields_stay_byte_for_byte():
    odd = b'{"big":123456789012345678901234567890,"small":1.50e-7,"zero":-0.0,"text":"\\u00e9\\/"}'
    signature = "EqQB+/==" * 50
    data = lines([start(), block(0, "thinking", thinking="", signature="", x=1), stop(0), end(), DONE])
    data[1] = data[1].replace(b'"x":1', b'"x":' + odd)
    data.insert(2, lines([delta(0, "signature_delta", signature=signature)])[0])
    got = shown(records_of(decoded(data)))
    assert odd in got[1]
    assert json.loads(got[2])["delta"]["signature"] == signature


@pytest.mark.promise("P17")
def test_only_frames_with_more_than_the_events_say_keep_a_raw_copy():
    kept = {
        json.loads(bytes(chunk.raw))["type"]
        for chunk in decoded(data_of(FIXTURES["thinking"]))
        if chunk.raw is not None
    }
    assert kept == {"message_start", "content_block_start", "message_delta"}


@pytest.mark.promise("P17")
def test_a_frame_over_several_lines_stays_one_frame_of_one_line():
    pretty = [msgspec.json.format(line).replace(b"\n", b"\r\n") for line in lines(sent("tools"))]
    got = shown(records_of(decoded(pretty)))
    assert not any(b"\n" in line or b"\r" in line for line in got)
    assert [json.loads(line) for line in got] == public(sent("tools"))


def test_blocks_keep_the_indexes_that_the_server_gave_them():
    frames = [start(), block(3, "text", text=""), text(3, "a"), stop(3), block(7, "text", text=""), text(7, "b")]
    assert through([*frames, stop(7), end(), DONE]) == public([*frames, stop(7), end(), DONE])


def test_an_event_that_nobody_knows_is_passed_on_with_its_name():
    (frame,) = [
        frame for frame in through([start(), {"type": "new_thing", "index": "x"}, end(), DONE]) if "index" in frame
    ]
    assert frame == {"type": "new_thing", "index": "x"}


def test_a_stream_that_begins_with_something_else_still_begins_with_a_message():
    frames = through([{"type": "new_thing"}, start(), block(0, "text", text=""), text(0, "a"), stop(0), end(), DONE])
    assert [frame["type"] for frame in frames[:3]] == ["message_start", "new_thing", "message_start"]


@pytest.mark.promise("P5", "P17")
def test_what_was_said_before_a_failure_stands_before_the_error():
    records = records_of(
        decoded(data_of(FIXTURES["truncated"])), Failed("upstream_incomplete", "It stopped.", status=502)
    )
    *said, error = read(records)
    assert said == public(sent("truncated"))
    assert error["type"] == "error"


def test_a_missing_end_is_told():
    frames = through([start(), block(0, "text", text=""), text(0, "a"), DONE])
    assert [frame["type"] for frame in frames[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    (stepped,) = [
        event for chunk in decoded(lines([start(), DONE])) for event in chunk.events if isinstance(event, StepEnd)
    ]
    assert stepped.finish == "unknown"


def test_fragments_of_calls_that_are_open_together_keep_their_index():
    frames = [start(), *(block(index, "tool_use", id=f"t{index}", name="f", input={}) for index in (0, 1))]
    frames += [fragment(1, '{"b":'), fragment(0, '{"a":'), fragment(1, "1}"), fragment(0, "2}"), stop(0), stop(1)]
    assert through([*frames, end("tool_use"), DONE]) == public([*frames, end("tool_use"), DONE])
