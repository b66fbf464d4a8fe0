"""Upstream frames to events: shapes, endings, errors, garbage."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects.openai_chat import ChatDecoder
from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamError,
    UpstreamModelNotFound,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from headrace.events import ArgsDelta, ChoiceEnd, ItemEnd, ItemStart, StepEnd, StepStart, TextDelta, Usage
from tests.dialects.openai_chat.vendor_frames import VENDORS
from tests.dialects.rendering import decoded, frames, records_of
from tests.strategies import chat_chunks, json_values


def feed(*chunks: dict[str, Any]) -> list[Any]:
    return [event for chunk in decoded(map(msgspec.json.encode, chunks)) for event in chunk.events]


def delta(fields: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"id": "up-1", "model": "big", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "said", [{"reasoning_content": "hm"}, {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}]
)
def test_the_empty_text_that_servers_begin_with_is_no_item(said: dict[str, Any]):
    """Other shapes would show an empty block, which Anthropic refuses when it is sent back."""
    events = feed(delta({"role": "assistant", "content": ""}), delta(said))
    started = [event for event in events if isinstance(event, ItemStart)]
    assert [(item.item, item.kind) for item in started] == [
        (0, "reasoning" if "reasoning_content" in said else "tool_call")
    ]


def test_text_becomes_one_item_with_its_deltas():
    events = feed(delta({"role": "assistant", "content": ""}), delta({"content": "a"}), delta({"content": "b"}, "stop"))
    assert events == [
        StepStart("server", "big", "openai.chat", "up-1"),
        ItemStart(0, "text"),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        ItemEnd(0),
        ChoiceEnd(0, "stop"),
    ]


def test_reasoning_text_and_refusal_are_items_of_their_own_and_a_new_name_is_a_new_item():
    events = feed(
        delta({"role": "assistant", "content": "", "reasoning": "r"}),
        delta({"reasoning_content": "s", "content": "t"}),
        delta({"refusal": "u"}),
    )
    items = [event for event in events if isinstance(event, ItemStart)]
    assert [(item.kind, item.name) for item in items] == [
        ("reasoning", "reasoning"),
        ("reasoning", "reasoning_content"),
        ("text", None),
        ("refusal", None),
    ]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["r", "s", "t", "u"]


@pytest.mark.promise("P17")
def test_one_thought_under_both_names_is_said_once():
    events = feed(
        delta({"reasoning": "hm", "reasoning_content": "hm"}), delta({"reasoning": "x", "reasoning_content": "x"})
    )
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["hm", "x"]
    assert len([event for event in events if isinstance(event, ItemStart)]) == 1


@pytest.mark.promise("P17")
def test_a_choice_without_a_delta_a_strange_role_and_an_odd_call_type_are_kept_raw():
    frames_of = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]},
        {"choices": [{"index": 0, "logprobs": {"content": []}}]},
        {"choices": [{"index": 0, "delta": {"role": "tool", "content": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": None}, "logprobs": {"content": []}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "type": "custom"}]}}]},
    ]
    chunks = decoded(map(msgspec.json.encode, frames_of))
    assert [chunk.raw is None for chunk in chunks] == [True] + [False] * 5


@pytest.mark.promise("P6")
def test_the_marker_closes_what_the_server_left_open_and_ends_the_answer():
    decoder = ChatDecoder("server", "model")
    decoder.feed(msgspec.json.encode(delta({"content": "a", "tool_calls": [{"index": 0, "id": "x"}]})))
    decoder.feed(msgspec.json.encode(delta({"content": "b"}, index=1)))
    chunk = decoder.feed(b"[DONE]")
    assert chunk is not None and decoder.closed
    assert chunk.events == (ItemEnd(1), ItemEnd(2), StepEnd("unknown"))
    assert decoder.feed(b"[DONE]") is None
    assert decoder.feed(b"not even JSON") is None


def test_an_answer_of_nothing_but_the_marker_still_begins_with_its_step():
    (chunk,) = decoded([b"[DONE]"])
    assert chunk.events == (StepStart("server", "model", "openai.chat"), StepEnd("unknown"))


def test_the_step_ends_with_the_reason_of_the_first_choice_and_the_last_usage():
    chunks = decoded(
        [
            *map(
                msgspec.json.encode,
                [
                    delta({"content": "a"}, "length"),
                    delta({"content": "b"}, "stop", index=1),
                    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
                ],
            ),
            b"[DONE]",
        ]
    )
    assert chunks[-1].events == (StepEnd("length", Usage(1, 2)),)


@pytest.mark.promise("P27")
def test_usage_is_read_with_its_details_and_null_counts():
    details = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    empty = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None, "prompt_tokens_details": None}
    events = feed({"choices": [], "usage": details}, {"choices": [], "usage": empty})
    assert [event for event in events if isinstance(event, Usage)] == [Usage(10, 20, 4, 5), Usage(0, 0)]


def test_an_empty_finish_reason_is_none():
    assert not any(isinstance(event, ChoiceEnd) for event in feed(delta({"content": "a"}, "")))


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("error", "kind", "status", "retryable"),
    [
        ({"message": "m", "type": "server_error", "code": None}, UpstreamError, 502, True),
        ({"message": "m"}, UpstreamError, 502, True),
        ({}, UpstreamError, 502, True),
        ("just text", UpstreamError, 502, True),
        ({"message": "m", "code": 500}, UpstreamUnavailable, 502, True),
        ({"message": "m", "code": 502}, UpstreamUnavailable, 502, True),
        ({"message": "m", "code": "503"}, UpstreamUnavailable, 503, True),
        ({"message": "m", "type": "overloaded_error"}, UpstreamUnavailable, 503, True),
        ({"message": "m", "code": 504}, UpstreamTimeout, 504, True),
        ({"message": "m", "code": 429}, RateLimited, 429, True),
        ({"message": "m", "type": "requests", "code": "rate_limit_exceeded"}, RateLimited, 429, True),
        ({"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}, RateLimited, 429, False),
        ({"message": "m", "code": 401}, UpstreamAuth, 502, False),
        ({"message": "m", "code": "invalid_api_key", "type": "invalid_request_error"}, UpstreamAuth, 502, False),
        ({"message": "m", "code": "model_not_found"}, UpstreamModelNotFound, 502, False),
        ({"message": "m", "type": "BadRequestError", "code": 400}, UpstreamRejected, 400, False),
        ({"message": "m", "code": "context_length_exceeded"}, UpstreamRejected, 400, False),
        ({"message": "m", "code": 402}, UpstreamRejected, 402, False),
        ({"message": "m", "code": 408}, UpstreamRejected, 408, True),
        ({"message": ["odd"], "code": {"odd": 1}, "type": 7}, UpstreamError, 502, True),
        ({"message": "m", "code": True}, UpstreamError, 502, True),
        ({"message": "m", "code": 99999}, UpstreamError, 502, True),
    ],
)
def test_an_error_in_the_stream_is_the_error_that_its_status_would_be(
    error: object, kind: type[HeadraceError], status: int, retryable: bool
):
    with pytest.raises(HeadraceError) as caught:
        ChatDecoder("server", "model").feed(msgspec.json.encode({"error": error}))
    problem = caught.value
    assert (type(problem), problem.status, problem.may_retry) == (kind, status, retryable)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"object": "error", "message": "too long", "code": 400}, UpstreamRejected),
        ({"error": "Model is overloaded", "error_type": "overloaded"}, UpstreamUnavailable),
        ({"error": "", "message": "x"}, UpstreamError),
        (
            {"id": "gen-1", "error": {"code": "server_error", "message": "gone"}, "choices": [{"delta": {}}]},
            UpstreamError,
        ),
    ],
)
def test_every_form_of_an_error_frame_is_seen(frame: dict[str, Any], kind: type[HeadraceError]):
    with pytest.raises(kind):
        feed(frame)


def test_a_null_error_is_no_error():
    assert feed({**delta({"content": "a"}), "error": None})[-1] == TextDelta(0, "a")


@pytest.mark.promise("P36")
def test_what_a_server_says_of_its_key_stays_out_of_the_error():
    with pytest.raises(UpstreamAuth) as caught:
        feed({"error": {"message": "Incorrect API key provided: sk-secret", "code": "invalid_api_key"}})
    assert "sk-secret" not in caught.value.message


def test_a_long_complaint_is_cut():
    with pytest.raises(UpstreamError) as caught:
        feed({"error": {"message": "x" * 100_000}})
    assert len(caught.value.message) < 3000


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"[done]",
        b"{",
        b"{}x",
        b"\xff",
        b'{"model":"\xff"}',
        b'{"unknown":"\xff"}',
        b'{"choices":[{"logprobs":"\xff","delta":{"content":"a"}}]}',
        b'{"choices":[{"logprobs":{"\xff":1},"delta":{}}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"choices":[{"logprobs":' + b"[" * 100_000,
        b'{"choices":5}',
        b'{"choices":[5]}',
        b'{"choices":{}}',
        b'{"choices":[{"index":-1}]}',
        b'{"choices":[{"index":"0"}]}',
        b'{"choices":[{"delta":[]}]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"tool_calls":[5]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":1.5}]}}]}',
        b'{"usage":5}',
        b'{"usage":{"prompt_tokens":"5"}}',
        b'{"created":1e999}',
        b'{"x":1e}',
        b'{"created":' + b"9" * 5000 + b"}",
    ],
)
def test_garbage_is_a_protocol_error_of_the_model_server(data: bytes):
    with pytest.raises(UpstreamProtocol):
        ChatDecoder("server", "model").feed(data)


def survives(data: list[bytes]) -> None:
    """Feeding raises only our errors; what it gave before can be rendered."""
    decoder = ChatDecoder("server", "model")
    chunks = []
    try:
        for frame in data:
            chunk = decoder.feed(frame)
            if chunk is not None:
                chunks.append(chunk)
    except HeadraceError as problem:
        assert isinstance(problem, UpstreamError | RateLimited)
    for params in ("", "u"):
        for frame in frames(records_of(chunks), params=params):
            assert b"\n" not in frame and b"\r" not in frame
            assert frame == b"[DONE]" or isinstance(json.loads(frame), dict)


@pytest.mark.promise("P25")
@given(st.lists(st.binary(max_size=40), max_size=3))
def test_random_bytes_raise_nothing_but_our_errors(data: list[bytes]):
    survives(data)


@pytest.mark.promise("P25")
@settings(max_examples=200)
@given(st.lists(json_values.map(msgspec.json.encode), max_size=3))
def test_random_json_raises_nothing_but_our_errors(data: list[bytes]):
    survives(data)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in paths(part, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.promise("P25")
@settings(max_examples=400)
@given(data=st.data())
def test_a_changed_value_anywhere_in_a_real_frame_raises_nothing_but_our_errors(data: st.DataObject):
    sent = list(VENDORS[data.draw(st.sampled_from(sorted(VENDORS)))])
    number = data.draw(st.integers(0, len(sent) - 1))
    place = data.draw(st.sampled_from(paths(sent[number])))
    sent[number] = changed(sent[number], place, data.draw(json_values))
    survives([*map(msgspec.json.encode, sent), b"[DONE]"])


@pytest.mark.promise("P25")
@settings(max_examples=200)
@given(sent=chat_chunks(), data=st.data())
def test_damaged_bytes_of_a_frame_raise_nothing_but_our_errors(sent: list[dict[str, Any]], data: st.DataObject):
    encoded = list(map(msgspec.json.encode, sent))
    number = data.draw(st.integers(0, len(encoded) - 1))
    frame = encoded[number]
    at = data.draw(st.integers(0, len(frame) - 1))
    encoded[number] = frame[:at] + data.draw(st.binary(max_size=2)) + frame[at + data.draw(st.integers(0, 3)) :]
    survives(encoded)


@pytest.mark.promise("P19")
@pytest.mark.parametrize("retryable", [True, False])
def test_another_headraces_word_on_retrying_holds(retryable: bool):
    frame = {"error": {"message": "no", "type": "server_error", "code": "upstream_auth", "retryable": retryable}}
    with pytest.raises(UpstreamError) as raised:
        ChatDecoder("openai", "m").feed(json.dumps(frame).encode())
    assert raised.value.may_retry is retryable


@pytest.mark.promise("P17")
def test_white_space_around_a_raw_frame_is_dropped_as_a_store_would_drop_it():
    chunk = ChatDecoder("server", "model").feed(b' \t{"choices":[],"x_vendor": 1} \n')
    assert chunk is not None and chunk.raw is not None
    assert bytes(chunk.raw) == b'{"choices":[],"x_vendor": 1}'


@pytest.mark.promise("P17")
def test_content_in_parts_is_its_text_and_arrives_as_it_was_sent():
    """As Mistral sends an answer that thinks."""
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]
    spoken = [
        {"type": "text", "text": "Hi"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "!"},
    ]
    sent = [{"choices": [{"index": 0, "delta": {"content": content}}]} for content in (thinking, spoken)]
    records = records_of(decoded([*(json.dumps(chunk).encode() for chunk in sent), b"[DONE]"]))
    said = [event.text for record in records for event in record.events if isinstance(event, TextDelta)]
    assert said == ["Hi!"]
    heard = [json.loads(frame)["choices"][0]["delta"]["content"] for frame in frames(records)[:2]]
    assert heard == [thinking, spoken]


@pytest.mark.promise("P18")
@pytest.mark.parametrize("arguments", ['{ "a": 1.0}', "[]", "7"])
def test_arguments_that_are_no_text_are_their_json_as_it_was_written(arguments: str):
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "HERE"}}
    sent = json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).replace('"HERE"', arguments)
    records = records_of(decoded([sent.encode(), b"[DONE]"]))
    said = [event.json for record in records for event in record.events if isinstance(event, ArgsDelta)]
    assert said == [arguments]
    assert f'"arguments": {arguments}'.encode() in frames(records)[0]


@pytest.mark.promise("P17", "P24")
def test_a_long_constant_is_not_said_again_with_every_token():
    constants = [{"system_fingerprint": "fp_" + "1" * 100_000, "service_tier": "default"}] + [{}] * 50
    sent = [{"choices": [{"index": 0, "delta": {"content": "a"}}], **fields} for fields in constants]
    body = frames(records_of(decoded([*(json.dumps(chunk).encode() for chunk in sent), b"[DONE]"])))
    assert json.loads(body[0])["system_fingerprint"] == constants[0]["system_fingerprint"]
    assert json.loads(body[1])["service_tier"] == "default"
    assert sum(map(len, body)) < 120_000
