"""Upstream frames to events: servers that leave things out, ends, errors, garbage."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects.openai_responses import ResponsesDecoder
from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamError,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamUnavailable,
)
from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Event,
    ItemEnd,
    ItemStart,
    Signature,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)
from tests.dialects.openai_responses.wire import WHOLE, Frame, decoded, encoded, events_of, fixture, shown
from tests.strategies import json_values


def feed(*sent: Frame) -> list[Event]:
    return events_of(decoded(encoded(*sent)))


CREATED: Frame = {"type": "response.created", "response": {"id": "resp_up", "model": "big"}}
STEP = StepStart("server", "big", "openai.responses", "resp_up")
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hello"}]}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}


def completed(*output: Frame, kind: str = "completed", **fields: Any) -> Frame:
    return {"type": "response." + kind, "response": {"id": "resp_up", "output": list(output), **fields}}


def test_parallel_calls_are_told_apart_by_their_place():
    events = events_of(decoded(fixture("parallel_calls")))
    texts = {item: "".join(e.json for e in events if isinstance(e, ArgsDelta) and e.item == item) for item in (0, 1)}
    assert texts == {0: '{"city":"Paris"}', 1: '{"city":"東京"}'}
    assert events[-2:] == [ChoiceEnd(0, "tool_calls"), StepEnd("tool_calls", Usage(66, 34, cached=12))]


def test_the_paragraphs_of_a_thought_are_one_item_with_its_signature():
    events = events_of(decoded(fixture("reasoning")))
    assert [event for event in events if isinstance(event, ItemStart)] == [
        ItemStart(0, "reasoning"),
        ItemStart(1, "text"),
    ]
    text = "".join(event.text for event in events if isinstance(event, TextDelta) and event.item == 0)
    assert text == "**Thinking** about it.\n\n**Then** more, carefully."
    assert Signature(0, "gAAAAABo+r/5Zk3Qx7==") in events


def test_a_thought_that_only_the_model_can_read_is_redacted():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sig"}
    begun = {"type": "response.output_item.added", "output_index": 0, "item": {**item, "encrypted_content": ""}}
    events = feed(CREATED, begun, {"type": "response.output_item.done", "output_index": 0, "item": item})
    assert events == [STEP, ItemStart(0, "reasoning", name="redacted"), Signature(0, "sig"), ItemEnd(0)]


def test_a_tool_of_the_model_server_is_an_item_by_its_own_name():
    events = events_of(decoded(fixture("web_search")))
    assert events[1:3] == [ItemStart(0, "data", name="web_search_call"), ItemEnd(0)]


@pytest.mark.parametrize("item", [CALL, MESSAGE, THOUGHT])
def test_a_server_that_sends_no_deltas_is_understood_at_the_end_of_an_item(item: Frame):
    begun = {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": [], "arguments": ""}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    said = {"function_call": ArgsDelta(0, '{"a":1}'), "message": TextDelta(0, "Hello"), "reasoning": TextDelta(0, "Hm")}
    for sent in ((CREATED, begun, done), (CREATED, done), (CREATED, completed(item))):
        events = feed(*sent)
        assert isinstance(events[1], ItemStart)
        assert events[2:4] == [said[item["type"]], ItemEnd(0)]


def test_a_text_that_is_only_said_whole_is_its_delta():
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = feed(CREATED, {"type": "response.output_text.done", **place, "text": "Hello"}, completed(MESSAGE))
    assert events[1:4] == [ItemStart(0, "text"), TextDelta(0, "Hello"), ItemEnd(0)]
    call = {"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0, "arguments": "{}"}
    begun = {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}}
    assert feed(CREATED, begun, call)[1:] == [ItemStart(0, "tool_call", 0, "f", "call_1"), ArgsDelta(0, "{}")]


def test_items_that_share_one_wrong_index_one_after_the_other_are_told_apart():
    begun = {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": CALL}
    events = feed(CREATED, begun, done, begun, done)
    assert [event.item for event in events if isinstance(event, ArgsDelta)] == [0, 1]


@pytest.mark.promise("P6")
def test_the_marker_closes_what_the_server_left_open_and_ends_the_answer():
    decoder = ResponsesDecoder("server", "model")
    for frame in fixture("truncated"):
        decoder.feed(frame)
    assert not decoder.closed
    chunk = decoder.feed(msgspec.json.encode(completed()))
    assert chunk is not None and decoder.closed
    assert chunk.events == (ItemEnd(0), ChoiceEnd(0, "stop"), StepEnd("stop"))
    assert decoder.feed(b"not even JSON") is None


@pytest.mark.parametrize(
    ("details", "finish"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "steered"}, "steered"),
        (None, "unknown"),
    ],
)
def test_why_an_answer_is_incomplete_is_its_finish(details: Any, finish: str):
    usage = {"input_tokens": 5, "output_tokens": 7, "input_tokens_details": {"cache_write_tokens": 2}}
    events = feed(CREATED, completed(kind="incomplete", incomplete_details=details, usage=usage))
    assert events[1:] == [ChoiceEnd(0, finish), StepEnd(finish, Usage(5, 7, cache_write=2))]


@pytest.mark.promise("P5")
def test_an_answer_that_was_cancelled_at_another_headrace_is_no_success():
    with pytest.raises(UpstreamError, match="cancelled"):
        feed(CREATED, completed(kind="incomplete", incomplete_details={"reason": "cancelled"}))


ERRORS: list[tuple[Frame, type[HeadraceError], int, bool]] = [
    ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow."}, RateLimited, 429, True),
    ({"type": "error", "error": {"type": "insufficient_quota", "message": "m"}}, RateLimited, 429, False),
    ({"type": "error", "error": {"code": "insufficient_quota", "message": "m"}}, RateLimited, 429, False),
    ({"type": "error", "code": "invalid_api_key", "message": "sk-secret"}, UpstreamAuth, 502, False),
    ({"type": "error", "code": None, "message": "m"}, UpstreamError, 502, True),
    ({"type": "error"}, UpstreamError, 502, True),
    ({"type": "error", "error": {"code": "x", "message": "m", "retryable": False}}, UpstreamError, 502, False),
    ({"error": {"type": "overloaded_error", "message": "m"}}, UpstreamUnavailable, 503, True),
    ({"error": {"type": "invalid_request_error", "message": "m"}}, UpstreamRejected, 400, False),
    ({"type": "response.failed", "response": {"error": {"code": "server_error"}}}, UpstreamError, 502, True),
    ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, RateLimited, 429, True),
    ({"type": "response.failed", "response": {"error": None}}, UpstreamError, 502, True),
    ({"type": "response.failed", "response": "x"}, UpstreamError, 502, True),
]


@pytest.mark.promise("P19", "P36")
@pytest.mark.parametrize(("frame", "error", "status", "retryable"), ERRORS, ids=range(len(ERRORS)))
def test_an_error_in_the_stream_is_the_error_that_its_status_would_be(
    frame: Frame, error: type[HeadraceError], status: int, retryable: bool
):
    with pytest.raises(error) as caught:
        feed(CREATED, frame)
    assert (caught.value.status, caught.value.may_retry) == (status, retryable)
    assert "sk-secret" not in caught.value.message


@pytest.mark.promise("P19")
@pytest.mark.parametrize("name", ["failed", "error_event"])
def test_a_recorded_failure_is_raised_after_what_came_before_it(name: str):
    *before, last = fixture(name)
    decoder = ResponsesDecoder("server", "model")
    assert all(decoder.feed(frame) is not None for frame in before)
    with pytest.raises(HeadraceError):
        decoder.feed(last)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"type":5}',
        b'{"type":"response.output_text.delta","delta":5}',
        b'{"type":"response.output_item.added","item":[]}',
        b'{"type":"response.completed","response":7}',
        b'{"type":"response.new","x":"\xff"}',
        b'{"type":"response.output_text.delta","delta":"a","logprobs":["\xff"]}',
        b"[" * 100_000,
    ],
    ids=range(13),
)
def test_what_is_no_frame_is_a_protocol_error(data: bytes):
    with pytest.raises(UpstreamProtocol):
        ResponsesDecoder("server", "model").feed(data)


@settings(max_examples=200)
@given(data=st.data())
def test_any_change_of_a_frame_is_understood_or_an_error_and_never_a_crash(data: st.DataObject):
    sent = [msgspec.json.decode(frame) for frame in fixture(data.draw(st.sampled_from(WHOLE)))]
    for _ in range(data.draw(st.integers(1, 3))):
        frame = sent[data.draw(st.integers(0, len(sent) - 1))]
        for key in ("item", "part", "response"):
            if isinstance(frame.get(key), dict) and data.draw(st.booleans()):
                frame = frame[key]
        if frame:
            frame[data.draw(st.sampled_from(sorted(frame)))] = data.draw(json_values)
    try:
        chunks = decoded(encoded(*sent))
    except HeadraceError:
        return
    got = shown(chunks)
    assert [frame["sequence_number"] for frame in got] == list(range(len(got)))
