"""What every view promises: a pure fold, exact resume, one line a frame, the right end."""

import json
import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import BY_CODE, DIALECTS, bare_id
from headrace.dialects.base import unsupported
from headrace.events import (
    ArgsDelta,
    Cancelled,
    Chunk,
    Event,
    Failed,
    Finished,
    ItemStart,
    Record,
    StepStart,
    Terminal,
    TextDelta,
)
from tests.dialects.openai_chat.vendor_frames import VENDORS
from tests.dialects.rendering import START, VIEWS, decoded, folded, frames, records_of
from tests.strategies import streams

FINISHED = Finished("stop")
FAILED = Failed("upstream_incomplete", "It stopped.", retryable=True, status=502)
CANCELLED = Cancelled("client")


@pytest.mark.promise("P4")
@pytest.mark.parametrize(("dialect", "params"), VIEWS)
@settings(max_examples=60)
@given(records=streams())
def test_a_fold_resumed_at_any_cut_gives_the_rest_of_an_uninterrupted_read(
    dialect: str, params: str, records: list[Record]
):
    whole = frames(records, dialect, params)
    sizes_view = DIALECTS[dialect].view(params)
    unit = sum(map(sizes_view.size, folded(sizes_view, records)))
    for cut in range(unit + 1):
        view = DIALECTS[dialect].view(params)
        position, rest = 0, list[bytes]()
        for record in records:
            for frame in view.fold(record):
                size = view.size(frame)
                over = position + size - cut
                if over >= size:
                    rest.append(view.encode(frame))
                elif over > 0:  # only text has units smaller than a frame
                    rest.append(frame[size - over :])
                position += size
        if dialect == "text":
            assert b"".join(rest) == b"".join(whole)[cut:]
        else:
            assert rest == whole[cut:]


@pytest.mark.promise("P4")
@pytest.mark.parametrize(("dialect", "params"), VIEWS)
@settings(max_examples=60)
@given(records=streams())
def test_encoding_later_in_another_order_or_twice_gives_the_same_bytes(
    dialect: str, params: str, records: list[Record]
):
    whole = frames(records, dialect, params)
    view = DIALECTS[dialect].view(params)
    lazy = folded(view, records)
    backwards = [view.encode(frame) for frame in reversed(lazy)]
    assert backwards[::-1] == whole
    assert [view.encode(frame) for frame in lazy] == whole


@pytest.mark.promise("P4")
@pytest.mark.parametrize(("dialect", "params"), VIEWS)
@settings(max_examples=60)
@given(records=streams(raw=False, with_logprobs=False))
def test_records_that_went_through_a_store_give_the_same_frames(dialect: str, params: str, records: list[Record]):
    stored = [msgspec.json.decode(msgspec.json.encode(record), type=Record) for record in records]
    assert stored == records
    assert frames(stored, dialect, params) == frames(records, dialect, params)


@pytest.mark.promise("P4", "P17")
def test_raw_frames_and_logprobs_survive_a_store():
    for vendor in VENDORS.values():
        records = records_of(decoded([*map(json_line, vendor), b"[DONE]"]))
        assert msgspec.json.decode(msgspec.json.encode(records), type=list[Record]) == records


SCRIPT = """
import sys, msgspec
from headrace.dialects import DIALECTS
from headrace.events import Record
records = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Record])
for name, params in {views}:
    view = DIALECTS[name].view(params)
    for record in records:
        for frame in view.fold(record):
            sys.stdout.buffer.write(view.encode(frame) + b"\\n")
"""


@pytest.mark.promise("P4")
def test_two_processes_render_the_same_bytes():
    records = records_of(decoded([*map(json_line, VENDORS["openai_two_choices"]), b"[DONE]"]))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(views=VIEWS)],
            input=msgspec.json.encode(records),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = [line for dialect, params in VIEWS for line in frames(records, dialect, params)]
    assert outputs == {b"".join(line + b"\n" for line in here)}


def json_line(chunk: object) -> bytes:
    return msgspec.json.encode(chunk)


@pytest.mark.promise("P14")
@pytest.mark.parametrize(("dialect", "params"), VIEWS[:-1])
@settings(max_examples=100)
@given(records=streams())
def test_a_json_frame_is_one_line_of_valid_utf8_and_json(dialect: str, params: str, records: list[Record]):
    view = DIALECTS[dialect].view(params)
    for record in records:
        for frame in view.fold(record):
            data = view.encode(frame)
            assert data and b"\n" not in data and b"\r" not in data
            assert data == b"[DONE]" or isinstance(json.loads(data.decode("utf-8")), dict)
            assert view.size(frame) == 1
            named = dialect in ("openai.responses", "anthropic.messages")
            assert view.event(frame) == (json.loads(data)["type"] if named else None)


@pytest.mark.promise("P14")
@given(records=streams())
def test_text_frames_are_never_empty_and_count_their_bytes(records: list[Record]):
    view = DIALECTS["text"].view("")
    for frame in folded(view, records):
        assert view.size(frame) == len(view.encode(frame)) > 0
        assert view.event(frame) is None


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("dialect", "terminal", "clean"),
    [
        ("openai.chat", FINISHED, True),
        ("openai.chat", FAILED, False),
        ("openai.chat", CANCELLED, False),
        ("openai.responses", FINISHED, True),
        ("openai.responses", FAILED, True),
        ("openai.responses", CANCELLED, True),
        ("anthropic.messages", FINISHED, True),
        ("anthropic.messages", FAILED, False),
        ("anthropic.messages", CANCELLED, False),
        ("native", FINISHED, True),
        ("native", FAILED, True),
        ("native", CANCELLED, True),
        ("text", FINISHED, True),
        ("text", FAILED, False),
        ("text", CANCELLED, False),
    ],
)
def test_a_body_ends_cleanly_only_where_its_shape_can_say_how_it_ended(dialect: str, terminal: Terminal, clean: bool):
    assert DIALECTS[dialect].clean_end(terminal) is clean


@pytest.mark.promise("P3", "P5")
@given(records=streams())
def test_the_last_frames_say_how_the_stream_ended(records: list[Record]):
    terminal = records[-1].terminal
    native = msgspec.json.decode(frames(records, "native", "")[-1], type=Record)
    assert native.terminal == terminal
    data = frames(records, "openai.chat", "")
    errors = [index for index, frame in enumerate(data) if frame.startswith(b'{"error"')]
    if isinstance(terminal, Finished):
        assert data.index(b"[DONE]") == len(data) - 1
        assert not errors
    else:
        assert errors == [len(data) - 1]
        assert b"[DONE]" not in data


@pytest.mark.promise("P5", "P19")
def test_a_failure_is_an_error_frame_with_its_own_code_and_advice():
    failed = json.loads(frames(records_of([], terminal=FAILED))[-1])
    assert failed == {
        "error": {
            "message": "It stopped.",
            "type": "server_error",
            "param": None,
            "code": "upstream_incomplete",
            "retryable": True,
        }
    }
    cancelled = json.loads(frames(records_of([], terminal=CANCELLED))[-1])["error"]
    assert (cancelled["code"], cancelled["type"], cancelled["retryable"]) == ("cancelled", "cancelled", False)


def test_no_two_shapes_share_a_name_a_cursor_letter_or_a_prefix():
    assert len(BY_CODE) == len(DIALECTS) == 5
    assert all(len(code) == 1 for code in BY_CODE)
    assert all(BY_CODE[dialect.code] is DIALECTS[dialect.name] for dialect in DIALECTS.values())


@pytest.mark.promise("P31")
@given(number=st.integers(0, 2**128 - 1))
def test_every_public_id_holds_the_stream_id(number: int):
    stream_id = f"{number:032x}"
    assert all(bare_id(dialect.prefix + stream_id) == stream_id for dialect in DIALECTS.values())


def test_the_public_id_of_a_chat_is_in_every_frame():
    records = records_of(decoded([b'{"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}', b"[DONE]"]))
    ids = {json.loads(frame)["id"] for frame in frames(records)[:-1]}
    assert {bare_id(public) for public in ids} == {START.id}
    assert ids == {"chatcmpl-" + START.id}


@pytest.mark.parametrize(("dialect", "params"), VIEWS)
def test_deltas_of_an_item_that_never_began_or_is_of_another_kind_say_nothing(dialect: str, params: str):
    events: list[Event] = [TextDelta(7, "lost"), ArgsDelta(7, "lost"), ItemStart(0, "text"), ItemStart(1, "tool_call")]
    events += [ArgsDelta(0, "no call"), TextDelta(1, "no text"), TextDelta(0, "kept")]
    records = records_of([Chunk((StepStart("s", "m"),)), *(Chunk((event,)) for event in events)])
    body = b"".join(frames(records, dialect, params))
    assert b"kept" in body
    if dialect != "native":
        assert b"lost" not in body and b"no call" not in body and b"no text" not in body


@pytest.mark.parametrize(
    ("shape", "field", "own"),
    [
        ("openai.chat", "response_format", "response_format"),
        ("openai.responses", "response_format.type", "text.format.type"),
        ("openai.responses", "messages[2].content[0]", "input"),
        ("openai.responses", "tools[0].name", "tools[0].name"),
        ("anthropic.messages", "stop", "stop_sequences"),
        ("anthropic.messages", "messages[0].content", "messages[0].content"),
    ],
)
def test_an_error_names_the_field_as_the_caller_wrote_it(shape: str, field: str, own: str):
    error = json.loads(DIALECTS[shape].error(unsupported(field, "No.")))["error"]
    assert (error["param"], error["message"]) == (own, f"{own} is not supported by this model: No.")
