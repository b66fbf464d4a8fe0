"""P17: what a chat completions server says reaches a chat completions client."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from headrace.events import Finished
from tests.dialects.openai_chat.vendor_frames import PLAIN, VENDORS, Frame
from tests.dialects.rendering import START, decoded, frames, records_of, through
from tests.strategies import chat_chunks

KNOWN_TOP = {
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
    "obfuscation",
    "system_fingerprint",
    "service_tier",
}
KNOWN_CHOICE = {"index", "delta", "finish_reason", "logprobs"}
KNOWN_DELTA = {"role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls"}


def without_null(fields: Frame, known: set[str]) -> Frame:
    return {name: value for name, value in fields.items() if value is not None or name not in known}


def comparable(frame: Frame) -> Frame:
    """The frame without what may differ: our id, created and model, known fields that are null, and padding."""
    constants = {"system_fingerprint", "service_tier"}  # null is a value there, and says as much as any other
    top = without_null(frame, KNOWN_TOP - constants) | {"id": 0, "created": 0, "model": 0}
    top.pop("obfuscation", None)
    choices: list[Frame] = []
    for choice in frame.get("choices") or []:
        kept = without_null(choice, KNOWN_CHOICE)
        if isinstance(kept.get("delta"), dict):
            kept["delta"] = without_null(kept["delta"], KNOWN_DELTA)
        choices.append(kept)
    return top | {"choices": choices}


def same(sent: list[Frame], got: list[bytes]) -> None:
    assert got[-1] == b"[DONE]"
    assert [comparable(json.loads(frame)) for frame in got[:-1]] == [comparable(frame) for frame in sent]


@pytest.mark.promise("P17")
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendors_frames_arrive_one_by_one_as_they_were_sent(vendor: str):
    same(VENDORS[vendor], through(VENDORS[vendor]))


@pytest.mark.promise("P17")
@pytest.mark.parametrize("vendor", VENDORS)
def test_only_frames_with_more_than_the_events_say_keep_a_raw_copy(vendor: str):
    chunks = decoded(map(msgspec.json.encode, VENDORS[vendor]))
    assert [index for index, chunk in enumerate(chunks) if chunk.raw is None] == PLAIN[vendor]


@pytest.mark.promise("P17")
@settings(max_examples=150)
@given(chat_chunks())
def test_random_chunks_arrive_one_by_one_as_they_were_sent(sent: list[Frame]):
    same(sent, through(sent))


@pytest.mark.promise("P17")
@settings(max_examples=100)
@given(chat_chunks())
def test_what_a_reader_gets_is_decoded_to_the_same_events(sent: list[Frame]):
    """A Headrace behind a Headrace sees what the first one saw."""
    first = decoded([*map(msgspec.json.encode, sent), b"[DONE]"])
    second = decoded(frames(records_of(first)))
    assert [chunk.events[1:] for chunk in first[:1]] == [chunk.events[1:] for chunk in second[:1]]
    assert [chunk.events for chunk in first[1:]] == [chunk.events for chunk in second[1:]]
    raws = [(chunk.raw is None) for chunk in first]
    assert raws == [(chunk.raw is None) for chunk in second]


@pytest.mark.promise("P17")
def test_numbers_and_strings_of_unknown_fields_stay_byte_for_byte():
    odd = b'{"big":123456789012345678901234567890,"small":1.50e-7,"zero":-0.0,"text":"\\u00e9\\/"}'
    data = b'{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"a","x":%b}}],"y":%b}' % (odd, odd)
    (frame, _) = frames(records_of(decoded([data, b"[DONE]"])))
    assert frame.count(odd) == 2


@pytest.mark.promise("P17")
def test_logprobs_stay_byte_for_byte():
    odd = b'{"content":[{"token":"a","logprob":-1.50e-7,"bytes":null}]}'
    data = b'{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"logprobs":%b}]}' % odd
    (chunk, done) = decoded([data, b"[DONE]"])
    assert chunk.raw is None
    assert b'"logprobs":' + odd in frames(records_of([chunk, done]))[0]


@pytest.mark.promise("P17")
def test_a_frame_over_several_lines_stays_one_frame_of_one_line():
    data = msgspec.json.format(msgspec.json.encode(VENDORS["openrouter"][0])).replace(b"\n", b"\r\n")
    pretty = msgspec.json.format(msgspec.json.encode(VENDORS["openai_logprobs"][1]))
    got = frames(records_of(decoded([data, pretty, b"[DONE]"])))
    assert not any(b"\n" in frame or b"\r" in frame for frame in got)
    same([VENDORS["openrouter"][0]], [got[0], got[-1]])
    assert json.loads(got[1])["choices"][0]["logprobs"] == VENDORS["openai_logprobs"][1]["choices"][0]["logprobs"]


@pytest.mark.promise("P17")
def test_a_constant_field_follows_its_value_and_null_is_one():
    values = [None, None, "fp_1", "fp_1", "fp_2", None]
    sent = [
        {"system_fingerprint": value, "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}
        for value in values
    ]
    got = [json.loads(frame) for frame in through(sent)[:-1]]
    assert [frame["system_fingerprint"] for frame in got] == values
    chunks = decoded(map(msgspec.json.encode, sent))
    assert all(chunk.raw is None for chunk in chunks)
    assert [len(chunk.events) for chunk in chunks[1:]] == [1, 2, 1, 2, 2]


def test_ids_created_and_model_are_ours_in_raw_frames_too():
    for vendor in VENDORS.values():
        for frame in through(vendor)[:-1]:
            value = json.loads(frame)
            assert value["id"] == "chatcmpl-" + START.id
            assert (value["created"], value["model"]) == (START.created, "demo")
            assert "object" in value


def test_frames_that_say_nothing_are_not_kept():
    nothing: list[dict[str, Any]] = [
        {"id": "x", "choices": []},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": ""}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": None, "obfuscation": "abc"},
    ]
    first = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    assert len(decoded(map(msgspec.json.encode, [first, *nothing]))) == 1


def test_the_first_frame_of_a_choice_carries_its_role_even_if_the_server_forgot_it():
    sent = [{"choices": [{"index": index, "delta": {"content": "x"}}]} for index in (0, 1, 0, 1)]
    deltas = [json.loads(frame)["choices"][0]["delta"] for frame in through(sent)[:-1]]
    assert [delta.get("role") for delta in deltas] == ["assistant", "assistant", None, None]


@pytest.mark.promise("P17")
def test_a_role_is_neither_lost_nor_invented_beside_raw_frames():
    sent: list[Frame] = [
        {"choices": [], "prompt_filter_results": []},
        {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"role": "assistant"}, "vendor": 1, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]},
    ]
    got = [json.loads(frame) for frame in through(sent)[:-1]]
    assert [[choice["delta"] for choice in frame["choices"]] for frame in got] == [
        [choice["delta"] for choice in frame["choices"]] for frame in sent
    ]


def test_raw_frames_of_another_shape_are_rendered_from_their_events():
    chunks = decoded([b'{"choices":[{"index":0,"delta":{"content":"a"}}],"x":1}'])
    start = chunks[0].events[0]
    foreign = msgspec.structs.replace(start, dialect="anthropic.messages")
    records = records_of([msgspec.structs.replace(chunks[0], events=(foreign, *chunks[0].events[1:]))])
    frame = json.loads(frames(records)[0])
    assert "x" not in frame
    assert frame["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}]
    assert isinstance(records[-1].terminal, Finished)
