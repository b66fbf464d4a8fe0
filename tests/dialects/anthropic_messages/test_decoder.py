"""Anthropic's stream events as ours: items, calls, usage, ends, errors."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.codecs.sse import SSEDecoder
from headrace.dialects.anthropic_messages import MessagesDecoder
from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamModelNotFound,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Chunk,
    Event,
    ItemEnd,
    ItemStart,
    Signature,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)
from tests.dialects.anthropic_messages.frames import (
    DONE,
    FIXTURES,
    PING,
    Frame,
    block,
    data_of,
    decoded,
    delta,
    end,
    fragment,
    lines,
    sent,
    start,
    stop,
    text,
)


def events_of(frames: list[Frame]) -> list[Event]:
    return [event for chunk in decoded(lines(frames)) for event in chunk.events]


def test_an_answer_is_a_step_with_an_item_for_each_block():
    usage = Usage(5, 1)
    assert events_of([start(), PING, block(0, "text", text=""), text(0, "Hi"), stop(0), end(), DONE]) == [
        StepStart("server", "claude", "anthropic.messages", "msg_1", usage),
        ItemStart(0, "text"),
        TextDelta(0, "Hi"),
        ItemEnd(0),
        ChoiceEnd(0, "stop"),
        Usage(5, 3),
        StepEnd("stop", Usage(5, 3)),
    ]


@pytest.mark.promise("P17")
def test_thinking_and_its_signature_are_one_item():
    frames = [start(), block(0, "thinking", thinking="", signature=""), delta(0, "thinking_delta", thinking="Hm")]
    frames += [delta(0, "signature_delta", signature=one) for one in ("c2ln", "c2ln+/==")]
    assert events_of([*frames, stop(0)])[1:] == [
        ItemStart(0, "reasoning"),
        TextDelta(0, "Hm"),
        Signature(0, "c2ln"),
        Signature(0, "c2ln+/=="),
        ItemEnd(0),
    ]


@pytest.mark.promise("P17")
def test_redacted_thinking_is_an_item_that_is_only_a_signature():
    events = events_of([start(), block(0, "redacted_thinking", data="c2VjcmV0"), stop(0)])
    assert events[1:] == [ItemStart(0, "reasoning", name="redacted"), Signature(0, "c2VjcmV0"), ItemEnd(0)]


@pytest.mark.promise("P18")
def test_the_input_of_a_tool_is_what_the_model_wrote():
    written = ['{"a": 1.50,', ' "é": "\\u00e9"', "}"]
    frames = [start(), block(0, "tool_use", id="toolu_1", name="f", input={}), fragment(0, "")]
    events = events_of([*frames, *(fragment(0, piece) for piece in written), stop(0)])
    assert events[1] == ItemStart(0, "tool_call", name="f", call_id="toolu_1")
    assert [event.json for event in events if isinstance(event, ArgsDelta)] == written


@pytest.mark.promise("P18")
@pytest.mark.parametrize("whole", [b'{"a": 1.50}', b"{}"])
def test_an_input_that_comes_whole_counts_once_and_only_where_no_fragment_follows(whole: bytes):
    begun = lines([block(0, "tool_use", id="t", name="f", input=0)])[0].replace(b'"input":0', b'"input":' + whole)
    first, last = lines([start()]), lines([stop(0)])
    alone = decoded([*first, begun, *last])
    assert [event for chunk in alone for event in chunk.events if isinstance(event, ArgsDelta)] == [
        ArgsDelta(0, whole.decode())
    ]
    followed = decoded([*first, begun, *lines([fragment(0, '{"b":2}')]), *last])
    assert [event for chunk in followed for event in chunk.events if isinstance(event, ArgsDelta)] == [
        ArgsDelta(0, '{"b":2}')
    ]


@pytest.mark.promise("P18")
def test_calls_that_are_open_together_are_never_mixed():
    frames = [start(), *(block(index, "tool_use", id=f"t{index}", name="f", input={}) for index in (0, 1))]
    frames += [fragment(1, "B"), fragment(0, "A"), fragment(1, "b"), stop(1), fragment(0, "a"), stop(0)]
    said: dict[int, str] = {}
    for event in events_of(frames):
        if isinstance(event, ArgsDelta):
            said[event.item] = said.get(event.item, "") + event.json
    assert said == {0: "Aa", 1: "Bb"}


def test_a_tool_that_the_server_ran_is_an_item_of_its_own_kind():
    items = [event for event in events_of(sent("web_search")) if isinstance(event, ItemStart)]
    assert [(item.kind, item.name) for item in items] == [
        ("text", None),
        ("data", "server_tool_use"),
        ("data", "web_search_tool_result"),
        ("text", None),
    ]


def test_counts_are_cumulative_and_what_is_not_said_keeps_its_value():
    begun = {"input_tokens": 4, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 2}
    frames = [start(usage=begun), end(None, output_tokens=5), end("end_turn", output_tokens=9, input_tokens=6), DONE]
    events = events_of(frames)
    assert [event for event in events if isinstance(event, Usage)] == [
        Usage(114, 5, cached=100, cache_write=10),
        Usage(116, 9, cached=100, cache_write=10),
    ]
    assert [event for event in events if isinstance(event, ChoiceEnd)] == [ChoiceEnd(0, "stop")]


def test_thinking_tokens_are_counted_apart():
    usages = [event for event in events_of(sent("thinking")) if isinstance(event, Usage)]
    assert usages == [Usage(25, 84, reasoning=61)]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
    ],
)
def test_stop_reasons_are_told_in_openais_words_where_there_are_some(reason: str, finish: str):
    events = events_of([start(), end(reason), DONE])
    assert ChoiceEnd(0, finish) in events
    assert isinstance(events[-1], StepEnd) and events[-1].finish == finish


@pytest.mark.promise("P6")
def test_only_message_stop_ends_an_answer_and_nothing_counts_after_it():
    decoder = MessagesDecoder("server", "model")
    for line in lines([start(), block(0, "text", text=""), text(0, "a"), stop(0), end()]):
        decoder.feed(line)
        assert not decoder.closed
    last = decoder.feed(lines([DONE])[0])
    assert decoder.closed
    assert last is not None and isinstance(last.events[-1], StepEnd)
    assert decoder.feed(lines([text(0, "more")])[0]) is None


@pytest.mark.promise("P6")
def test_a_block_that_was_left_open_ends_with_the_message():
    events = events_of([start(), block(0, "tool_use", id="t", name="f", input={"a": 1}), DONE])
    assert events[2:] == [ArgsDelta(0, '{"a":1}'), ItemEnd(0), StepEnd("unknown", Usage(5, 1))]


@pytest.mark.promise("P6")
def test_the_first_chunk_says_that_a_step_began_whatever_it_is():
    for frame in ({"type": "new"}, text(0, "a"), stop(0), end(), DONE, block(0, "text", text="")):
        (chunk,) = decoded(lines([frame]))
        assert isinstance(chunk.events[0], StepStart)
        assert chunk.events[0].model == "model"


def test_text_of_a_block_that_never_began_is_not_lost():
    assert events_of([start(), text(4, "a"), text(4, "b"), stop(4)])[1:] == [
        ItemStart(0, "text"),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        ItemEnd(0),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "new_thing", "index": "x", "message": 5, "delta": []},
        delta(0, "new_delta", text=7),
        delta(0, "text_delta", text=""),
        {"type": "content_block_stop", "index": 9},
    ],
)
def test_what_nobody_knows_is_kept_as_it_came(frame: Frame):
    (_, _, chunk) = decoded(lines([start(), block(0, "text", text=""), frame]))
    assert chunk.events == ()
    assert chunk.raw is not None and json.loads(bytes(chunk.raw)) == frame


def test_pings_say_nothing():
    assert decoded([b'{"type": "ping"}', b'{"type":"ping","at":1}']) == []


ERRORS: list[tuple[str, type[HeadraceError], int, bool]] = [
    ("invalid_request_error", UpstreamRejected, 400, False),
    ("authentication_error", UpstreamAuth, 502, False),
    ("billing_error", UpstreamRejected, 402, False),
    ("permission_error", UpstreamAuth, 502, False),
    ("not_found_error", UpstreamModelNotFound, 502, False),
    ("request_too_large", UpstreamRejected, 413, False),
    ("rate_limit_error", RateLimited, 429, True),
    ("api_error", UpstreamUnavailable, 502, True),
    ("timeout_error", UpstreamTimeout, 504, True),
    ("overloaded_error", UpstreamUnavailable, 503, True),
]


@pytest.mark.promise("P19")
@pytest.mark.parametrize(("kind", "error", "status", "retryable"), ERRORS)
def test_an_error_in_the_stream_is_what_its_status_would_have_been(
    kind: str, error: type[HeadraceError], status: int, retryable: bool
):
    frame = {"type": "error", "error": {"type": kind, "message": "Sorry."}, "request_id": "req_1"}
    with pytest.raises(error) as caught:
        decoded(lines([start(), frame]))
    assert (caught.value.status, caught.value.may_retry) == (status, retryable)
    assert ("Sorry." in caught.value.message) is (error is not UpstreamAuth)


@pytest.mark.promise("P19")
def test_another_headrace_knows_better_whether_a_retry_helps():
    error = {"type": "rate_limit_error", "message": "Full.", "code": "too_many_streams", "retryable": False}
    with pytest.raises(RateLimited) as caught:
        decoded(lines([{"type": "error", "error": error}]))
    assert not caught.value.may_retry


@pytest.mark.promise("P19")
@pytest.mark.parametrize("data", [b'{"error":{"message":"No.","code":503}}', b'{"type":"error","message":"No."}'])
def test_errors_of_another_form_are_errors_too(data: bytes):
    with pytest.raises(HeadraceError, match=r"No\."):
        decoded([data])


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"[1]",
        b"{}",
        b'{"type":5}',
        b'{"type":"message_start"}',
        b'{"type":"message_start","message":{"usage":{"input_tokens":"x"}}}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":5}}',
        b'{"type":"content_block_delta","index":"x","delta":{}}',
        b'{"type":"ping","text":"\xff"}',
    ],
)
def test_what_is_no_event_is_a_protocol_error(data: bytes):
    with pytest.raises(UpstreamProtocol):
        decoded([data])


def chunks_in(body: bytes, cuts: list[int]) -> list[Chunk]:
    frames, decoder = SSEDecoder(), MessagesDecoder("server", "model")
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    chunks = [decoder.feed(frame.data) for piece in pieces for frame in frames.feed(piece)]
    return [chunk for chunk in chunks if chunk is not None]


@pytest.mark.parametrize("name", [name for name in sorted(FIXTURES) if name != "overloaded"])
def test_every_split_of_the_bytes_gives_the_same_chunks(name: str):
    body = FIXTURES[name]
    whole = msgspec.json.encode(decoded(data_of(body)))
    for cut in range(0, len(body), 7):
        assert msgspec.json.encode(chunks_in(body, [cut])) == whole


@given(cuts=st.lists(st.integers(0, len(FIXTURES["tools"])), max_size=20).map(sorted))
def test_any_splits_of_the_bytes_give_the_same_chunks(cuts: list[int]):
    body = FIXTURES["tools"]
    assert chunks_in(body, cuts) == chunks_in(body, [])


def test_every_fixture_says_what_it_is_named_after():
    said: dict[str, Any] = {name: [frame.get("type") for frame in sent(name)] for name in FIXTURES}
    assert all(types[-1] == "message_stop" for name, types in said.items() if name not in ("overloaded", "truncated"))
    assert said["overloaded"][-1] == "error"
