"""Whole answers: one `message`, equal to what Anthropic's own client makes of the stream."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic import not_given
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given, settings

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.dialects.anthropic_messages import MessagesDecoder, chunks_of
from headrace.errors import HeadraceError, RateLimited, UpstreamError, UpstreamProtocol
from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Chunk,
    Failed,
    Finished,
    ItemStart,
    Record,
    Signature,
    StepStart,
    TextDelta,
    Usage,
)
from tests.dialects.anthropic_messages.frames import (
    DONE,
    FIXTURES,
    PUBLIC,
    WHOLE,
    Frame,
    answer_of,
    block,
    data_of,
    decoded,
    end,
    fragment,
    lines,
    public,
    read,
    records_of,
    sent,
    start,
    stop,
    text,
    through,
)
from tests.strategies import streams


def message_of(records: list[Record]) -> dict[str, Any]:
    return json.loads(ANTHROPIC_MESSAGES.answer(answer_of(records)))


def official(frames: list[Frame]) -> dict[str, Any]:
    """What the official client's accumulator makes of these events."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for frame in frames:
        snapshot = accumulate_event(
            event=frame,  # type: ignore[arg-type]
            current_snapshot=snapshot,
            json_bufs=buffers,
            output_format=not_given,
        )
    return snapshot.to_dict()


def comparable(message: dict[str, Any]) -> dict[str, Any]:
    """Without what only one of the two tells: nulls, empty lists of citations, and where a count is from."""
    usage = {name: value for name, value in message["usage"].items() if name != "source" and value is not None}
    content = [
        {name: value for name, value in block.items() if name != "citations" or value} for block in message["content"]
    ]
    fields = {name: value for name, value in message.items() if value is not None or name == "stop_reason"}
    return {**fields, "usage": usage, "content": content}


@pytest.mark.promise("P17", "P18")
@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("max_tokens", "future")])
def test_the_answer_is_what_anthropics_client_makes_of_the_stream(name: str):
    records = records_of(decoded(data_of(FIXTURES[name])))
    assert comparable(message_of(records)) == comparable(official(read(records)))


@pytest.mark.promise("P18")
@settings(max_examples=100)
@given(streams(foreign=False, raw=False))
def test_answers_of_other_shapes_are_what_anthropics_client_makes_of_the_stream(records: list[Record]):
    if not isinstance(records[-1].terminal, Finished):
        return
    message = message_of(records)
    for part in message["content"]:
        if "partial_json" in part:  # the client mends, or refuses, what is no JSON
            return
    assert comparable(message) == comparable(official(read(records)))


@pytest.mark.promise("P17")
def test_the_answer_has_every_field_that_the_server_sent():
    message = message_of(records_of(decoded(data_of(FIXTURES["future"]))))
    assert message["container"]["id"] == "container_1"
    assert message["stop_details"] == {"type": "x"}
    assert message["content"] == [{"type": "compaction", "content": None}, {"type": "text", "text": "ab", "flag": True}]
    assert (message["id"], message["model"]) == (PUBLIC["id"], "demo")
    assert message["stop_reason"] == "pause_turn"


@pytest.mark.promise("P18")
def test_an_input_stands_in_the_answer_as_it_was_written():
    frames = [start(), block(0, "tool_use", id="t", name="f", input={}), fragment(0, '{"n": 1.50,  "é":"\\u00e9"}')]
    body = ANTHROPIC_MESSAGES.answer(answer_of(records_of(decoded(lines([*frames, stop(0), end(), DONE])))))
    assert '"input":{"n": 1.50,  "é":"\\u00e9"}'.encode() in body


@pytest.mark.promise("P18")
def test_an_input_that_was_cut_off_stands_beside_an_empty_one():
    message = message_of(records_of(decoded(data_of(FIXTURES["max_tokens"]))))
    (call,) = message["content"]
    assert (call["input"], call["partial_json"]) == ({}, '{"text": "cut of')
    assert message["stop_reason"] == "max_tokens"


def test_the_stop_sequence_is_told():
    message = message_of(records_of(decoded(data_of(FIXTURES["stop_sequence"]))))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "3")


def test_counts_of_the_server_stay_as_they_came():
    message = message_of(records_of(decoded(data_of(FIXTURES["cache"]))))
    assert message["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 248,
        "cache_read_input_tokens": 100000,
        "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 12,
        "service_tier": "priority",
    }


@pytest.mark.promise("P27")
def test_counts_that_nobody_gave_say_so():
    step = StepStart("server", "m", "openai.chat")
    message = message_of(records_of([Chunk((step, Usage(7, 2, source="estimated")))]))
    assert message["usage"]["source"] == "estimated"
    assert message_of(records_of([Chunk((step,))]))["usage"]["source"] == "estimated"


def test_an_answer_of_another_shape_has_its_reasoning_calls_and_redacted_parts():
    events = (
        StepStart("server", "m", "openai.chat"),
        ItemStart(0, "reasoning"),
        TextDelta(0, "Hm"),
        Signature(0, "c2ln"),
        ItemStart(1, "reasoning", name="redacted"),
        Signature(1, "x"),
        ItemStart(2, "refusal"),
        TextDelta(2, "No."),
        ItemStart(3, "tool_call", name="f", call_id="call_1"),
        ArgsDelta(3, ""),
        ItemStart(4, "source"),
        ItemStart(5, "text", 1),
        ChoiceEnd(0, "tool_calls"),
    )
    message = message_of(records_of([Chunk(events)]))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "No."},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
    ]
    assert message["stop_reason"] == "tool_use"


def test_an_answer_that_nobody_finished_has_no_stop_reason():
    records = records_of(decoded(data_of(FIXTURES["truncated"])), Failed("upstream_incomplete", "It stopped."))
    message = message_of(records)
    assert message["content"] == [{"type": "text", "text": "Half an answer"}]
    assert message["stop_reason"] is None


@pytest.mark.promise("P19")
def test_an_error_has_anthropics_form_and_ours_beside():
    error = RateLimited("Full.", code="too_many_streams", retry_after=1)
    assert json.loads(ANTHROPIC_MESSAGES.error(error)) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Full.", "code": "too_many_streams", "retryable": True},
    }
    said = json.loads(ANTHROPIC_MESSAGES.error(UpstreamError("It stopped."), partial="Half"))["error"]
    assert (said["type"], said["partial"]) == ("api_error", "Half")


# A server that cannot stream


def whole(name: str) -> dict[str, Any]:
    """The fixture as one answer."""
    return official(public(sent(name)))


@pytest.mark.promise("P12", "P17")
@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("max_tokens", "future")])
def test_an_answer_that_came_whole_is_streamed_and_answered_as_it_came(name: str):
    said = whole(name)
    decoder = MessagesDecoder("server", "model")
    records = records_of(chunks_of(msgspec.json.encode(said), decoder))
    assert decoder.closed
    assert comparable(message_of(records)) == comparable(said)
    assert comparable(official(read(records))) == comparable(said)


@pytest.mark.promise("P12")
def test_an_answer_that_came_whole_is_told_in_deltas():
    frames = through([])  # nothing: only the end
    assert [frame["type"] for frame in frames] == ["message_start", "message_delta", "message_stop"]
    body = msgspec.json.encode(whole("text"))
    shown = read(records_of(chunks_of(body, MessagesDecoder("server", "model"))))
    (delta,) = [frame["delta"] for frame in shown if frame["type"] == "content_block_delta"]
    assert delta == {"type": "text_delta", "text": whole("text")["content"][0]["text"]}


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down."}}', RateLimited),
        (b'{"type":"message"}', UpstreamProtocol),
        (b'{"type":"message","content":[{"text":"a"}]}', UpstreamProtocol),
        (b'{"type":"message","content":5}', UpstreamProtocol),
        (b"[]", UpstreamProtocol),
        (b"no", UpstreamProtocol),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, error: type[HeadraceError]):
    with pytest.raises(error):
        chunks_of(body, MessagesDecoder("server", "model"))


def test_citations_of_a_stream_are_in_their_blocks():
    message = message_of(records_of(decoded(lines([*sent("citations")]))))
    assert [len(part.get("citations") or ()) for part in message["content"]] == [2, 0]
    plain = [start(), block(0, "text", text=""), text(0, "a"), stop(0), end(), DONE]
    assert message_of(records_of(decoded(lines(plain))))["content"] == [{"type": "text", "text": "a"}]
