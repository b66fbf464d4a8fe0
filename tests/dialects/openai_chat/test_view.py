"""The log as chunks: what a client adds up is what the events say; usage; encodings."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings

from headrace.dialects import OPENAI_CHAT
from headrace.events import (
    ArgsDelta,
    Attrs,
    ChoiceEnd,
    Chunk,
    Failed,
    Finished,
    ItemStart,
    Record,
    StepStart,
    TextDelta,
    Usage,
)
from tests.dialects.openai_chat.client import STRINGS, Client
from tests.dialects.openai_chat.vendor_frames import VENDORS
from tests.dialects.rendering import START, decoded, frames, records_of, through
from tests.strategies import streams

STEP = StepStart("server", "big", "anthropic.messages", "up-1")


def told(records: list[Record]) -> dict[int, dict[str, Any]]:  # noqa: C901 - one table of events
    """What chat completions can say of these events, in the words of `Client`."""
    items = [event for record in records for event in record.events if isinstance(event, ItemStart)]
    choices: dict[int, dict[str, Any]] = {}

    def choice(index: int) -> dict[str, Any]:
        empty = {"role": "assistant", "calls": [], "finish": None, "logprobs": {}, **dict.fromkeys(STRINGS)}
        return choices.setdefault(index, empty)

    calls: dict[int, dict[str, Any]] = {}
    keys = {"text": "content", "refusal": "refusal"}
    for event in (event for record in records for event in record.events):
        match event:
            case ItemStart(kind="tool_call"):
                calls[event.item] = {"id": event.call_id, "name": event.name, "arguments": ""}
                choice(event.choice)["calls"].append(calls[event.item])
            case ItemStart(kind="text"):
                choice(event.choice)["content"] = choice(event.choice)["content"] or ""
            case ArgsDelta():
                calls[event.item]["arguments"] += event.json
            case TextDelta() if items[event.item].kind in ("text", "reasoning", "refusal"):
                item = items[event.item]
                key = keys.get(item.kind) or item.name or "reasoning_content"
                known = choice(item.choice)
                known[key] = (known[key] or "") + event.text
                for name, entries in (json.loads(bytes(event.logprobs)) if event.logprobs else {}).items():
                    known["logprobs"][name] = known["logprobs"].get(name, []) + (entries or [])
            case ChoiceEnd():
                choice(event.choice)["finish"] = event.reason
            case _:
                pass
    return choices


def without_empty(choices: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Whether an empty text was begun, and whether a silent choice exists, are no part of the comparison."""
    kept: dict[int, dict[str, Any]] = {}
    for index, choice in choices.items():
        fields = {name: value for name, value in choice.items() if name != "role" and value not in (None, "", [], {})}
        logprobs = {name: entries for name, entries in choice["logprobs"].items() if entries}
        fields.pop("logprobs", None)
        if logprobs:
            fields["logprobs"] = logprobs
        if fields:
            kept[index] = fields
    return kept


@pytest.mark.promise("P4")
@settings(max_examples=150)
@given(streams(raw=False))
def test_a_client_adds_up_what_the_events_say(records: list[Record]):
    heard = Client().read(frames(records))
    assert without_empty(heard.choices) == without_empty(told(records))
    assert all(choice["role"] == "assistant" for choice in heard.choices.values())
    terminal = records[-1].terminal
    assert heard.done == isinstance(terminal, Finished)
    assert (heard.error or {}).get("code") == {"finished": None, "cancelled": "cancelled"}.get(
        type(terminal).__name__.lower(), "upstream_incomplete"
    )
    assert all(
        head.items() >= {"id": "chatcmpl-" + records[0].events[0].id, "object": "chat.completion.chunk"}.items()  # type: ignore
        for head in heard.heads
    )


def thinks_twice(frame: bytes) -> bool:
    """Whether one delta has the same under both names of reasoning: that is read as one, since vLLM says it so."""
    if frame == b"[DONE]":
        return False
    deltas = [choice["delta"] for choice in json.loads(frame)["choices"]]
    return any(delta.get("reasoning") and delta["reasoning"] == delta.get("reasoning_content") for delta in deltas)


@pytest.mark.promise("P4")
@settings(max_examples=150)
@given(streams(raw=False))
def test_decoding_what_was_encoded_gives_the_same_answer_and_then_the_same_events(records: list[Record]):
    terminal = records[-1].terminal
    assert terminal is not None
    data = [frame for frame in frames(records) if not frame.startswith(b'{"error"')]
    assume(not any(map(thinks_twice, data)))
    first = decoded(data)
    assert without_empty(told(records_of(first))) == without_empty(told(records))
    again = frames(records_of(first, terminal=terminal))
    second = decoded(frame for frame in again if not frame.startswith(b'{"error"'))
    assert [chunk.events[1:] if index == 0 else chunk.events for index, chunk in enumerate(second)] == [
        chunk.events[1:] if index == 0 else chunk.events for index, chunk in enumerate(first)
    ]


@pytest.mark.promise("P27")
@settings(max_examples=100)
@given(streams(raw=False))
def test_usage_is_said_once_at_the_end_and_only_to_who_asked(records: list[Record]):
    usages = [event for record in records for event in record.events if isinstance(event, Usage)]
    assert Client().read(frames(records, params="")).usages == []
    heard = Client().read(frames(records, params="u"))
    if not isinstance(records[-1].terminal, Finished):
        assert heard.usages == []
        return
    (block,) = heard.usages
    last = usages[-1]
    assert (block["prompt_tokens"], block["completion_tokens"]) == (last.input, last.output)
    assert block["total_tokens"] == last.input + last.output
    assert block.get("source", "provider") == last.source
    assert block.get("prompt_tokens_details", {}).get("cached_tokens", 0) == last.cached
    assert block.get("completion_tokens_details", {}).get("reasoning_tokens", 0) == last.reasoning


@pytest.mark.promise("P27")
@pytest.mark.parametrize("vendor", [name for name, sent in VENDORS.items() if sum("usage" in f for f in sent)])
def test_a_servers_own_usage_is_kept_or_dropped_as_asked(vendor: str):
    sent = VENDORS[vendor]
    reported = [frame["usage"] for frame in sent if frame.get("usage")]
    assert Client().read(through(sent, "u")).usages == reported
    unasked = through(sent, "")
    assert not any(b'"usage"' in frame for frame in unasked if b"x_groq" not in frame)
    assert len(unasked) - 1 == sum(bool(frame["choices"]) or not frame.get("usage") for frame in sent)


@pytest.mark.promise("P27")
@pytest.mark.parametrize("source", ["estimated", "partial"])
def test_a_count_that_is_not_the_servers_says_so(source: Any):
    chunk = decoded([b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}'])[0]
    records = records_of([chunk])
    records[-1] = Record(2, 0, (Usage(3, 1, source=source), Finished("stop")))
    assert Client().read(frames(records)).usages == [
        {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "source": source}
    ]


@pytest.mark.promise("P27")
def test_a_later_count_is_shown_after_an_earlier_one_in_a_raw_frame():
    sent = [b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}']
    records = records_of(decoded(sent))
    records[-1] = Record(2, 0, (Usage(3, 9), Finished("stop")))
    assert [usage["prompt_tokens"] for usage in Client().read(frames(records)).usages] == [3, 3]


def test_the_usage_chunk_has_no_choice_and_the_others_say_null():
    got = [json.loads(frame) for frame in through(VENDORS["openai_parallel_tools"])[:-1]]
    assert got[-1]["choices"] == []
    assert all(frame["usage"] is None for frame in got[:-1])


def test_two_logprobs_of_one_record_are_joined():
    events = (
        STEP,
        ItemStart(0, "text"),
        TextDelta(0, "a", msgspec.Raw(b'{"content":[1],"refusal":null}')),
        TextDelta(0, "b", msgspec.Raw(b'{"content":[2],"refusal":null}')),
        TextDelta(0, "c", msgspec.Raw(b'{"content":[3.50]}')),
    )
    frame = frames(records_of([Chunk(events)]))[0]
    assert b'"logprobs":{"content":[1,2,3.50],"refusal":null}' in frame
    assert b'"content":"abc"' in frame


def test_a_vendors_name_for_reasoning_is_a_json_string_like_any_other():
    events = [ItemStart(0, "reasoning", name='odd"name'), TextDelta(0, "a"), TextDelta(0, "b")]
    records = records_of([Chunk((STEP,)), *(Chunk((event,)) for event in events)])
    deltas = [json.loads(frame)["choices"][0]["delta"] for frame in frames(records)[:-1]]
    assert deltas == [{"role": "assistant"}, {'odd"name': "a"}, {'odd"name': "b"}]


def test_the_first_frame_opens_with_the_role_before_any_content():
    (first, *_) = frames(records_of([Chunk((STEP,)), Chunk((ItemStart(0, "text"), TextDelta(0, "a")))]))
    assert json.loads(first)["choices"] == [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]


def test_an_attribute_that_changes_mid_item_changes_every_later_frame():
    events = [
        ItemStart(0, "text"),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        Attrs({"service_tier": "flex"}),
        TextDelta(0, "c"),
    ]
    records = records_of([Chunk((STEP,)), *(Chunk((event,)) for event in events)])
    tiers = [json.loads(frame).get("service_tier") for frame in frames(records)[:-1]]
    assert tiers == [None, None, None, None, "flex"]


def test_frames_that_were_folded_before_a_change_are_encoded_as_they_were():
    view = OPENAI_CHAT.view("u")
    events = [STEP, ItemStart(0, "text"), TextDelta(0, "a"), Attrs({"service_tier": "flex"}), TextDelta(0, "b")]
    lazy = [frame for record in records_of([Chunk((event,)) for event in events]) for frame in view.fold(record)]
    assert [b"flex" in view.encode(frame) for frame in lazy] == [False, False, False, True, False]


@pytest.mark.promise("P5")
def test_nothing_but_the_error_is_in_the_record_that_fails():
    records = records_of([Chunk((STEP,))], terminal=Failed("upstream_timeout", "No token for 120 s.", status=504))
    records[-1] = Record(2, 0, (Usage(1, 0, source="partial"), *records[-1].events))
    (*_, last) = frames(records)
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    assert len(frames(records)) == 2
    assert START.id.encode() not in last
