"""Whole answers, from the log and from servers that cannot stream."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import OPENAI_CHAT
from headrace.dialects.openai_chat import ChatDecoder, chunks_of
from headrace.errors import HeadraceError, UpstreamProtocol, UpstreamRejected, UpstreamTimeout
from headrace.events import Answer, Record, Usage
from headrace.transforms.accumulator import Accumulator
from tests.dialects.openai_chat.client import STRINGS, Client
from tests.dialects.openai_chat.vendor_frames import VENDORS, Frame, one
from tests.dialects.rendering import START, decoded, frames, records_of
from tests.strategies import chat_chunks, json_values, streams


def accumulated(records: list[Record]) -> Answer:
    accumulator = Accumulator()
    accumulator.feed(records)
    return accumulator.answer()


def answer_of(sent: list[Frame]) -> dict[str, Any]:
    records = records_of(decoded([*map(msgspec.json.encode, sent), b"[DONE]"]))
    return json.loads(OPENAI_CHAT.answer(accumulated(records)))


def whole(chunks: list[Any]) -> dict[str, Any]:
    return json.loads(OPENAI_CHAT.answer(accumulated(records_of(chunks))))


@settings(max_examples=150)
@given(streams(raw=False))
def test_the_answer_is_what_a_client_adds_up_from_the_stream(records: list[Record]):
    heard = Client().read(frames(records))
    answer = json.loads(OPENAI_CHAT.answer(accumulated(records)))
    assert (answer["object"], answer["created"]) == ("chat.completion", START.created)
    for choice in answer["choices"]:
        known = heard.choices.get(choice["index"]) or {"calls": [], "logprobs": {}, "finish": None}
        message = choice["message"]
        assert message["role"] == "assistant"
        assert {name: message.get(name) or None for name in STRINGS} == {
            name: known.get(name) or None for name in STRINGS
        }
        calls = [
            {"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]}
            for call in message.get("tool_calls", [])
        ]
        assert calls == known["calls"]
        logprobs = {name: entries for name, entries in (choice["logprobs"] or {}).items() if entries}
        assert logprobs == {name: entries for name, entries in known["logprobs"].items() if entries}
        assert choice["finish_reason"] == known["finish"]
    if heard.usages:
        assert answer["usage"] == heard.usages[-1]


def unknown_of(sent: list[Frame]) -> tuple[Any, dict[int, Any], dict[int, Any]]:
    """The last `x_top`, each choice's last `x_choice`, and each choice's `x_delta` joined, written plainly."""
    top: Any = None
    beside: dict[int, Any] = {}
    joined: dict[int, Any] = {}
    for frame in sent:
        top = frame.get("x_top", top)
        for choice in frame["choices"]:
            index = choice["index"]
            if "x_choice" in choice:
                beside[index] = choice["x_choice"]
            if "x_delta" in choice["delta"]:
                value: Any = choice["delta"]["x_delta"]
                known: Any = joined.get(index)
                same = type(known) is type(value) and isinstance(value, str | list)
                if value is not None or index not in joined:
                    joined[index] = known + value if same else value
    return top, beside, joined


@pytest.mark.promise("P17")
@settings(max_examples=150)
@given(chat_chunks())
def test_unknown_fields_reach_the_answer(sent: list[Frame]):
    answer = answer_of(sent)
    top, beside, joined = unknown_of(sent)
    assert answer.get("x_top") == top
    for choice in answer["choices"]:
        index = choice["index"]
        assert choice.get("x_choice") == beside.get(index)
        if not isinstance(joined.get(index), dict):
            assert choice["message"].get("x_delta") == joined.get(index)


@pytest.mark.promise("P17")
def test_objects_in_a_delta_are_joined_inside():
    pieces: list[Frame] = [
        {"function_call": {"name": "f", "arguments": ""}, "audio": {"id": "audio_1", "transcript": "He"}},
        {"function_call": {"arguments": '{"a'}, "audio": {"transcript": "llo", "data": "AAAA"}},
        {"function_call": {"arguments": '":1}'}, "audio": {"id": "audio_1", "expires_at": 17, "deep": {"x": "y"}}},
    ]
    message = answer_of([{"choices": [{"index": 0, "delta": piece}]} for piece in pieces])["choices"][0]["message"]
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert message["audio"] == {
        "id": "audio_1",
        "transcript": "Hello",
        "data": "AAAA",
        "expires_at": 17,
        "deep": {"x": "y"},
    }


@pytest.mark.promise("P17")
def test_a_vendors_answer_keeps_what_only_it_knows():
    openrouter = answer_of(VENDORS["openrouter"])
    (choice,) = openrouter["choices"]
    assert openrouter["provider"] == "Anthropic"
    assert openrouter["usage"]["cost"] == 0.00014
    assert choice["native_finish_reason"] is None
    assert choice["message"]["content"] == "Hello"
    assert choice["message"]["reasoning"] == "Let me"
    assert [detail.get("signature") for detail in choice["message"]["reasoning_details"]] == [None, "EqRkLm=="]
    assert answer_of(VENDORS["groq"])["x_groq"]["usage"]["queue_time"] == 0.037
    assert answer_of(VENDORS["openai"])["usage"] == VENDORS["openai"][-1]["usage"]
    assert answer_of(VENDORS["deepseek"])["usage"]["prompt_cache_miss_tokens"] == 15
    assert answer_of(VENDORS["gemini_signature"])["usage"]["total_tokens"] == 9
    both = answer_of(VENDORS["vllm_both_names"])["choices"][0]["message"]
    assert both["reasoning"] == both["reasoning_content"] == "Okay, so"


@pytest.mark.promise("P17", "P27")
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendors_stream_is_an_answer_with_its_last_usage(vendor: str):
    answer = answer_of(VENDORS[vendor])
    blocks = [chunk["usage"] for chunk in VENDORS[vendor] if chunk.get("usage")]
    assert answer.get("usage") == (blocks[-1] if blocks else None)


@pytest.mark.promise("P17")
def test_unknown_fields_of_a_tool_call_stay_with_it():
    (call,) = answer_of(VENDORS["gemini_signature"])["choices"][0]["message"]["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "CmUBvj72+/=="}}


@pytest.mark.promise("P17")
def test_a_field_keeps_its_place_in_a_tool_call_whatever_its_name():
    function = {"name": "f", "arguments": "{}", "id": "inside"}
    frame = one({"tool_calls": [{"index": 0, "id": "c", "name": "beside", "function": function}]})
    (call,) = answer_of([frame])["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "c", "type": "function", "name": "beside", "function": function}


@pytest.mark.promise("P27")
def test_an_estimate_is_not_mixed_with_a_servers_earlier_block():
    chunks = decoded([b'{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"cost":5}}'])
    records = records_of(chunks)
    records[-1] = Record(2, 0, (Usage(4, 2, source="partial"), *records[-1].events))
    usage = json.loads(OPENAI_CHAT.answer(accumulated(records)))["usage"]
    assert usage == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6, "source": "partial"}


@pytest.mark.promise("P17", "P27")
def test_a_count_that_comes_twice_is_one_count():
    (*said, count) = VENDORS["openai"]
    for counts in ([count, count], [count] * 3):
        assert answer_of([*said, *counts])["usage"] == count["usage"]


def test_an_answer_of_nothing_has_no_choices():
    assert whole(decoded([b"[DONE]"]))["choices"] == []


@pytest.mark.promise("P19")
def test_an_error_keeps_the_partial_text():
    body = json.loads(OPENAI_CHAT.error(UpstreamTimeout("No token.", param="x"), partial="Hal"))
    assert body == {
        "error": {
            "message": "No token.",
            "type": "server_error",
            "param": "x",
            "code": "upstream_timeout",
            "retryable": True,
            "partial": "Hal",
        }
    }
    assert "partial" not in json.loads(OPENAI_CHAT.error(UpstreamTimeout("No token.")))["error"]


COMPLETION: Frame = {
    "id": "chatcmpl-up",
    "object": "chat.completion",
    "created": 1,
    "model": "big",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "reasoning_content": "Hm",
                "annotations": [],
                "audio": None,
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}'},
                        "x": {"y": 1},
                    },
                    {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            "logprobs": {"content": [{"token": "Hello", "logprob": -0.25}], "refusal": None},
            "finish_reason": "tool_calls",
            "matched_stop": 7,
        },
        {
            "index": 1,
            "message": {"role": "assistant", "content": None, "refusal": "No."},
            "logprobs": None,
            "finish_reason": "stop",
        },
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21, "cost": 0.5},
    "system_fingerprint": "fp_1",
    "service_tier": None,
    "provider": "x",
}


@pytest.mark.promise("P12", "P17")
def test_an_answer_that_came_whole_leaves_whole():
    answer = whole(chunks_of(msgspec.json.encode(COMPLETION), ChatDecoder("server", "model")))
    ours = {"id": "chatcmpl-" + START.id, "created": START.created, "model": "demo"}
    assert answer == COMPLETION | ours


@pytest.mark.promise("P12")
@settings(max_examples=150)
@given(streams(raw=False))
def test_our_own_answer_read_as_an_upstreams_is_the_same_answer(records: list[Record]):
    body = OPENAI_CHAT.answer(accumulated(records))
    value = json.loads(body)
    if not value["choices"]:
        with pytest.raises(UpstreamProtocol):
            chunks_of(body, ChatDecoder("server", "model"))
        return
    answer = whole(chunks_of(body, ChatDecoder("server", "model")))
    value |= {"id": answer["id"], "model": answer["model"]}
    assert without_empty(answer) == without_empty(value)


def without_empty(answer: dict[str, Any]) -> dict[str, Any]:
    """Empty strings may become null, and a choice that said nothing may be gone."""
    answer = json.loads(json.dumps(answer))
    for choice in answer["choices"]:
        message = choice["message"]
        choice["message"] = {name: value for name, value in message.items() if value not in (None, "")}
    silent = {"message": {"role": "assistant"}, "logprobs": None, "finish_reason": None}
    answer["choices"] = [choice for choice in answer["choices"] if choice != silent | {"index": choice["index"]}]
    return answer


@pytest.mark.promise("P12")
def test_chunks_of_an_answer_stream_like_any_other():
    chunks = chunks_of(msgspec.json.encode(COMPLETION), ChatDecoder("server", "model"))
    heard = Client().read(frames(records_of(chunks)))
    assert heard.done
    assert heard.choices[0]["content"] == "Hello"
    assert [call["id"] for call in heard.choices[0]["calls"]] == ["call_a", "call_b"]
    assert heard.choices[1]["refusal"] == "No."
    assert heard.usages == [COMPLETION["usage"]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"choices":5}',
        b'{"choices":[]}',
        b'{"choices":[5]}',
        b'{"choices":["text"]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":"text"}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{"tool_calls":[5]}}]}',
        b'{"choices":[{"message":{"tool_calls":{}}}]}',
        b'{"choices":[{"message":{"content":5}}]}',
        b'{"choices":[{"index":"a","message":{}}]}',
        b'{"detail":"Not Found"}',
    ],
)
def test_a_body_that_is_no_answer_is_a_protocol_error(body: bytes):
    with pytest.raises(UpstreamProtocol):
        chunks_of(body, ChatDecoder("server", "model"))


def test_an_error_body_is_that_error():
    with pytest.raises(UpstreamRejected):
        chunks_of(b'{"error":{"message":"too long","code":"context_length_exceeded"}}', ChatDecoder("server", "model"))


@settings(max_examples=150)
@given(json_values, st.sampled_from(["choices", "usage", "model"]), json_values)
def test_random_bodies_raise_nothing_but_our_errors(value: Any, name: str, part: Any):
    for body in (value, COMPLETION | {name: part}, {**COMPLETION, "choices": [{"message": part}]}):
        with suppress(HeadraceError):
            whole(chunks_of(msgspec.json.encode(body), ChatDecoder("server", "model")))
