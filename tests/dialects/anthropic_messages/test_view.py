"""The log as Anthropic's events, whatever shape the model server spoke."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.events import (
    ArgsDelta,
    Cancelled,
    ChoiceEnd,
    Chunk,
    Event,
    Failed,
    Finished,
    ItemEnd,
    ItemStart,
    Record,
    Signature,
    Status,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)
from tests.dialects.anthropic_messages.client import Client
from tests.dialects.anthropic_messages.frames import PUBLIC, Frame, answer_of, decoded, read, records_of, shown
from tests.strategies import streams

STEP = StepStart("server", "m", "openai.chat", "up-1")
FINISH = (ChoiceEnd(0, "stop"), StepEnd("stop"))


def frames_of(*events: Event, terminal: Any = None) -> list[Frame]:
    """Each event in a record of its own."""
    return read(records_of([Chunk((event,)) for event in events], terminal))


def types_of(frames: list[Frame]) -> list[str]:
    return [frame["type"] for frame in frames]


def test_an_answer_of_another_shape_is_a_whole_message():
    frames = frames_of(STEP, ItemStart(0, "text"), TextDelta(0, "Hi"), ItemEnd(0), *FINISH, Usage(9, 4, cached=5))
    usage = {"input_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    message = {"type": "message", "role": "assistant", "content": [], "stop_reason": None, "stop_sequence": None}
    assert frames == [
        {"type": "message_start", "message": {**PUBLIC, **message, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {**usage, "input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 4},
        },
        {"type": "message_stop"},
    ]


def test_reasoning_is_thinking_with_its_signature():
    frames = frames_of(STEP, ItemStart(0, "reasoning"), TextDelta(0, "Hm"), Signature(0, "c2ln=="), ItemEnd(0))
    assert frames[1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert [frame["delta"] for frame in frames[2:4]] == [
        {"type": "thinking_delta", "thinking": "Hm"},
        {"type": "signature_delta", "signature": "c2ln=="},
    ]


@pytest.mark.promise("P17")
def test_reasoning_that_only_the_model_can_read_comes_whole():
    frames = frames_of(
        STEP, ItemStart(0, "reasoning", name="redacted"), Signature(0, "x"), Signature(0, "y"), ItemEnd(0)
    )
    assert frames[1:3] == [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "redacted_thinking", "data": "y"}},
        {"type": "content_block_stop", "index": 0},
    ]


@pytest.mark.promise("P18")
def test_calls_that_are_open_together_keep_apart_by_their_index():
    events: list[Event] = [STEP, ItemStart(0, "text"), TextDelta(0, "a"), ItemEnd(0)]
    events += [ItemStart(item, "tool_call", name="f", call_id=f"call_{item}") for item in (1, 2)]
    events += [ArgsDelta(2, '{"b":'), ArgsDelta(1, '{"a": 1.50}'), ArgsDelta(2, "2}"), ItemEnd(1), ItemEnd(2)]
    frames = frames_of(*events, ChoiceEnd(0, "tool_calls"))
    client = Client().read(frames)
    assert [(call["id"], call["input"]) for call in client.blocks[1:]] == [
        ("call_1", '{"a": 1.50}'),
        ("call_2", '{"b":2}'),
    ]
    assert client.stop_reason == "tool_use"


def test_a_refusal_is_text():
    client = Client().read(frames_of(STEP, ItemStart(0, "refusal"), TextDelta(0, "No."), ItemEnd(0)))
    assert client.blocks == [{"type": "text", "text": "No."}]


def test_blocks_are_counted_without_what_the_shape_has_no_word_for():
    events: list[Event] = [STEP, ItemStart(0, "source"), ItemEnd(0), Status("retrying", "x"), ItemStart(1, "text", 1)]
    events += [TextDelta(1, "another choice"), ItemStart(2, "data", name="x"), ItemStart(3, "text"), TextDelta(3, "a")]
    frames = frames_of(*events)
    assert types_of(frames) == [
        *("message_start", "content_block_start", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert {frame.get("index", 0) for frame in frames} == {0}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("pause_turn", "pause_turn"),
        ("unknown", None),
    ],
)
def test_finish_reasons_are_told_in_anthropics_words(finish: str, reason: str | None):
    (ending,) = [frame for frame in frames_of(STEP, ChoiceEnd(0, finish)) if frame["type"] == "message_delta"]
    assert ending["delta"]["stop_reason"] == reason
    (ending,) = [frame for frame in frames_of(STEP, terminal=Finished(finish)) if frame["type"] == "message_delta"]
    assert ending["delta"]["stop_reason"] == reason


@pytest.mark.promise("P27")
def test_a_count_that_nobody_gave_says_so():
    (ending,) = [f for f in frames_of(STEP, Usage(7, 2, source="estimated")) if f["type"] == "message_delta"]
    assert ending["usage"]["source"] == "estimated"


@pytest.mark.promise("P5", "P19")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_a_failure_is_an_error_event_in_anthropics_words(status: int, kind: str):
    failed = Failed("some_code", "It stopped.", retryable=True, status=status, param="messages")
    begun, error = frames_of(STEP, terminal=failed)
    assert begun["type"] == "message_start"
    said = {"type": kind, "message": "It stopped.", "code": "some_code", "retryable": True, "param": "messages"}
    assert error == {"type": "error", "error": said}


@pytest.mark.promise("P5", "P19")
def test_a_stop_is_an_error_event_with_its_own_code():
    *_, error = frames_of(STEP, terminal=Cancelled("client"))
    assert (error["error"]["type"], error["error"]["code"]) == ("api_error", "cancelled")


def test_a_stream_that_never_began_is_only_its_error():
    assert types_of(frames_of(terminal=Failed("upstream_unavailable", "No."))) == ["error"]
    assert types_of(frames_of(terminal=Finished("stop"))) == ["message_start", "message_delta", "message_stop"]


@pytest.mark.promise("P14")
def test_every_event_has_its_name_and_the_heartbeat_is_a_ping():
    view = ANTHROPIC_MESSAGES.view("")
    for record in records_of(decoded([])):
        for frame in view.fold(record):
            assert view.event(frame) == json.loads(view.encode(frame))["type"]
    name, data, *rest = ANTHROPIC_MESSAGES.heartbeat.split(b"\n")
    assert name == b"event: ping"
    assert json.loads(data.removeprefix(b"data: ")) == {"type": "ping"}
    assert rest == [b"", b""]


@pytest.mark.promise("P14")
@pytest.mark.parametrize("name", ["a\nb", "", "x" * 65, "é"])
def test_a_type_that_is_no_event_name_gives_none(name: str):
    ours = StepStart("server", "m", "anthropic.messages")
    raw = json.dumps({"type": name}).encode()
    records = records_of([Chunk((ours,)), Chunk((), raw=_raw(raw))])
    view = ANTHROPIC_MESSAGES.view("")
    names = [view.event(frame) for record in records for frame in view.fold(record)]
    assert names[1] is None


def _raw(data: bytes) -> Any:
    import msgspec

    return msgspec.Raw(data)


@pytest.mark.promise("P4", "P18")
@settings(max_examples=150)
@given(streams())
def test_a_client_adds_up_what_the_log_says_of_choice_0(records: list[Record]):
    client = Client().read(read(records))
    terminal = records[-1].terminal
    assert client.done is isinstance(terminal, Finished)
    assert (client.error is None) is isinstance(terminal, Finished)
    answer = answer_of(records)
    items = answer.choices[0].items if answer.choices else ()
    said = [
        (item.kind == "reasoning", item.kind == "tool_call", item.text)
        for item in items
        if item.kind in ("text", "refusal", "reasoning", "tool_call")
    ]
    got = [
        (
            block["type"] == "thinking",
            block["type"] == "tool_use",
            block.get("input", block.get("thinking", block.get("text"))),
        )
        for block in client.blocks
    ]
    assert got == said


@settings(max_examples=100)
@given(streams(raw=False, foreign=False))
def test_what_the_shape_can_say_is_read_back_from_its_frames(records: list[Record]):
    """decode(encode(events)) == events, but for what ends inside of one frame."""
    if not isinstance(records[-1].terminal, Finished):
        return
    again = answer_of(records_of(decoded(shown(records))))
    before = answer_of(records)
    kinds = {"refusal": "text"}
    items = before.choices[0].items if before.choices else ()
    kept = [
        (
            kinds.get(item.kind, item.kind),
            item.text or ("{}" if item.kind == "tool_call" else ""),
            item.call_id,
            item.signature,
        )
        for item in items
        if item.kind not in ("source", "data")
    ]
    got = [(item.kind, item.text, item.call_id, item.signature) for choice in again.choices for item in choice.items]
    assert got == kept
