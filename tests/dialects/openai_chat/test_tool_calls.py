"""P18: tool calls keep their identity, whatever the server says of indexes and ids."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import OPENAI_CHAT
from headrace.transforms.accumulator import Accumulator
from tests.dialects.openai_chat.client import Client
from tests.dialects.rendering import decoded, frames, records_of

Fragment = dict[str, Any]
Call = tuple[str | None, str | None, str]


def fragment(arguments: str | None = None, **fields: Any) -> Fragment:
    name = fields.pop("name", None)
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


def outward(*sent: list[Fragment], **vendor: Any) -> list[Call]:
    """The calls as a strict client sees them, and as the answer has them; one list per frame."""
    chunks = [
        {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": calls, **vendor}, "finish_reason": None}]}
        for calls in sent
    ]
    records = records_of(decoded([*map(msgspec.json.encode, chunks), b"[DONE]"]))
    heard = Client().read(frames(records)).choices[0]["calls"]
    accumulator = Accumulator()
    accumulator.feed(records)
    message = json.loads(OPENAI_CHAT.answer(accumulator.answer()))["choices"][0]["message"]
    answered = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
    assert [(call["id"], call["name"], call["arguments"]) for call in heard] == answered
    return answered


A, B = ("call_a", "f", '{"a":1}'), ("call_b", "g", '{"b":2}')

CASES: dict[str, list[list[Fragment]]] = {
    "as documented": [
        [fragment("", index=0, id="call_a", type="function", name="f")],
        [fragment('{"a"', index=0)],
        [fragment(":1}", index=0)],
        [fragment("", index=1, id="call_b", type="function", name="g")],
        [fragment('{"b":2}', index=1)],
    ],
    "interleaved": [
        [fragment("", index=0, id="call_a", name="f"), fragment("", index=1, id="call_b", name="g")],
        [fragment('{"b"', index=1)],
        [fragment('{"a"', index=0), fragment(":2", index=1)],
        [fragment("}", index=1), fragment(":1}", index=0)],
    ],
    "index missing, whole calls in one frame": [
        [fragment('{"a":1}', id="call_a", name="f"), fragment('{"b":2}', id="call_b", name="g")]
    ],
    "index missing, fragments without an id continue": [
        [fragment("", id="call_a", name="f")],
        [fragment('{"a"')],
        [fragment(":1}")],
        [fragment("", id="call_b", name="g")],
        [fragment('{"b":2}')],
    ],
    "index missing, id with every fragment": [
        [fragment("", id="call_a", name="f"), fragment("", id="call_b", name="g")],
        [fragment('{"a":1}', id="call_a")],
        [fragment('{"b":2}', id="call_b")],
    ],
    "index always 0, new ids": [
        [fragment('{"a":1}', index=0, id="call_a", name="f")],
        [fragment('{"b"', index=0, id="call_b", name="g")],
        [fragment(":2}", index=0)],
    ],
    "index always 0, new ids, one frame": [
        [fragment('{"a":1}', index=0, id="call_a", name="f"), fragment('{"b":2}', index=0, id="call_b", name="g")]
    ],
    "index always 0, back to the first by its id": [
        [fragment('{"a"', index=0, id="call_a", name="f"), fragment('{"b"', index=0, id="call_b", name="g")],
        [fragment(":1}", index=0, id="call_a"), fragment(":2}", index=0, id="call_b")],
    ],
    "id and name with every fragment": [
        [fragment('{"a"', index=0, id="call_a", name="f")],
        [fragment(":1}", index=0, id="call_a", name="f")],
        [fragment('{"b"', index=1, id="call_b", name="g")],
        [fragment(":2}", index=1, id="call_b", name="g")],
    ],
    "a new index with every fragment of one id": [
        [fragment('{"a"', index=0, id="call_a", name="f")],
        [fragment(":1}", index=1, id="call_a")],
        [fragment('{"b":2}', index=2, id="call_b", name="g")],
    ],
    "indexes from 1, with gaps": [
        [fragment('{"a":1}', index=1, id="call_a", name="f")],
        [fragment('{"b"', index=5, id="call_b", name="g")],
        [fragment(":2}", index=5)],
    ],
    "empty ids and names on fragments": [
        [fragment("", index=0, id="call_a", type="function", name="f")],
        [{"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": '{"a"'}}],
        [{"index": 0, "id": None, "type": "function", "function": {"name": None, "arguments": ":1}"}}],
        [fragment('{"b":2}', index=1, id="call_b", name="g")],
    ],
    "id and name after an empty beginning": [
        [{"index": 0, "function": {"arguments": ""}}],
        [fragment('{"a":1}', index=0, id="call_a", name="f")],
        [fragment('{"b":2}', index=1, id="call_b", name="g")],
    ],
}


@pytest.mark.promise("P18")
@pytest.mark.parametrize("case", CASES)
def test_the_answer_has_each_call_whole(case: str):
    chunks = [
        {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]}
        for calls in CASES[case]
    ]
    records = records_of(decoded([*map(msgspec.json.encode, chunks), b"[DONE]"]))
    accumulator = Accumulator()
    accumulator.feed(records)
    message = json.loads(OPENAI_CHAT.answer(accumulator.answer()))["choices"][0]["message"]
    assert [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]
    ] == [
        A,
        B,
    ]


@pytest.mark.promise("P18")
@pytest.mark.parametrize("case", [case for case in CASES if case != "id and name after an empty beginning"])
@pytest.mark.parametrize("vendor", [{}, {"vendor": 1}], ids=["plain", "with a vendor's field"])
def test_a_client_hears_growing_indexes_and_whole_arguments(case: str, vendor: dict[str, Any]):
    assert outward(*CASES[case], **vendor) == [A, B]


@pytest.mark.promise("P18")
@pytest.mark.parametrize("index", [None, 0])
def test_calls_without_any_id_are_told_apart_by_their_names(index: int | None):
    where = {} if index is None else {"index": index}
    calls = [fragment('{"a":1}', name="f", **where), fragment('{"b":2}', name="g", **where)]
    assert outward(calls) == outward(calls[:1], calls[1:]) == [(None, "f", A[2]), (None, "g", B[2])]


@pytest.mark.promise("P18")
def test_two_calls_of_one_function_in_one_frame_are_two_calls():
    calls = [fragment('{"a":1}', index=0, name="f"), fragment('{"a":2}', index=0, name="f")]
    assert outward(calls) == [(None, "f", '{"a":1}'), (None, "f", '{"a":2}')]


@pytest.mark.promise("P17", "P18")
def test_a_vendors_field_stays_with_its_call_when_the_index_was_wrong():
    calls = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"signature": "s1=="}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}, "extra_content": {"signature": "s2=="}},
    ]
    data = msgspec.json.encode({"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": calls}}]})
    records = records_of(decoded([data, b"[DONE]"]))
    (streamed,) = json.loads(frames(records)[0])["choices"]
    assert streamed["delta"]["tool_calls"] == [calls[0], {**calls[1], "index": 1}]
    accumulator = Accumulator()
    accumulator.feed(records)
    message = json.loads(OPENAI_CHAT.answer(accumulator.answer()))["choices"][0]["message"]
    assert [call["extra_content"] for call in message["tool_calls"]] == [{"signature": "s1=="}, {"signature": "s2=="}]


@pytest.mark.promise("P18")
def test_choices_count_their_calls_apart():
    chunks = [
        {"choices": [{"index": choice, "delta": {"tool_calls": [fragment("{}", index=0, id=f"c{choice}", name="f")]}}]}
        for choice in (0, 1)
    ]
    heard = Client().read(frames(records_of(decoded([*map(msgspec.json.encode, chunks), b"[DONE]"]))))
    assert [heard.choices[choice]["calls"][0]["id"] for choice in (0, 1)] == ["c0", "c1"]


@pytest.mark.promise("P18")
@settings(max_examples=150)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 3), st.text(min_size=1, max_size=4)), max_size=20),
    numbering=st.sampled_from(["right", "missing", "zero", "shifted"]),
    vendor=st.booleans(),
)
def test_random_interleavings_keep_every_byte_with_its_call(
    pieces: list[tuple[int, str]], numbering: str, vendor: bool
):
    """Where the index says nothing, the id is with every fragment."""
    begun: list[int] = []
    expected: dict[int, str] = {}
    sent: list[list[Fragment]] = []
    for call, text in pieces:
        expected[call] = expected.get(call, "") + text
        fields: dict[str, Any] = {}
        if call not in begun:
            begun.append(call)
            fields |= {"id": f"call_{call}", "type": "function", "name": "f"}
        elif numbering in ("missing", "zero"):
            fields["id"] = f"call_{call}"
        position = begun.index(call)
        if numbering != "missing":
            fields["index"] = {"right": position, "zero": 0, "shifted": 3 * position + 2}[numbering]
        sent.append([fragment(text, **fields)])
    if sent:
        calls = outward(*sent, **({"vendor": 1} if vendor else {}))
        assert calls == [(f"call_{call}", "f", expected[call]) for call in begun]
