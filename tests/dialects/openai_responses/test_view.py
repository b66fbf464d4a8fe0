"""Answers of other shapes as Responses frames, read as the official client reads them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from headrace.dialects import OPENAI_RESPONSES
from headrace.dialects.openai_responses import ResponsesDecoder
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
    StepEnd,
    StepStart,
    Terminal,
    TextDelta,
    Usage,
)
from tests.dialects.openai_responses.client import accumulated
from tests.dialects.openai_responses.wire import Frame, decoded, events_of, shown
from tests.dialects.rendering import START, frames, records_of
from tests.strategies import streams

STEP = StepStart("server", "model", "openai.chat", "up-1")


def chunks(*events: Event) -> list[Chunk]:
    return [Chunk((STEP,)), *(Chunk((event,)) for event in events)]


def kinds(got: list[Frame]) -> list[str]:
    return [frame["type"].removeprefix("response.") for frame in got]


TEXT = (ItemStart(0, "text"), TextDelta(0, "Hel"), TextDelta(0, "lo"), ItemEnd(0))


def test_text_is_a_message_with_one_part():
    got = shown(chunks(*TEXT, ChoiceEnd(0, "stop"), StepEnd("stop", Usage(3, 2, cached=1, reasoning=1))))
    assert kinds(got) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [frame["sequence_number"] for frame in got] == list(range(len(got)))
    item = {
        "id": f"msg_{START.id}_0",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert got[8]["item"] == item
    answer = got[-1]["response"]
    assert (answer["id"], answer["status"], answer["output"]) == ("resp_" + START.id, "completed", [item])
    assert answer["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 5,
    }


def test_a_delta_is_the_frame_that_the_api_documents():
    got = shown(chunks(*TEXT))
    assert got[4] == {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        "item_id": f"msg_{START.id}_0",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hel",
        "logprobs": [],
    }


@pytest.mark.promise("P17")
def test_reasoning_is_a_summary_that_clients_show_with_its_signature_as_encrypted_content():
    got = shown(
        chunks(ItemStart(0, "reasoning"), TextDelta(0, "Hm"), Signature(0, "sig+/="), ItemEnd(0), ItemStart(1, "text"))
    )
    assert kinds(got)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert got[7]["item"] == {
        "id": f"rs_{START.id}_0",
        "type": "reasoning",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": "sig+/=",
    }


@pytest.mark.promise("P17")
def test_reasoning_that_only_the_model_can_read_is_an_item_without_a_summary():
    got = shown(chunks(ItemStart(0, "reasoning", name="redacted"), Signature(0, "sig"), ItemEnd(0)))
    assert kinds(got)[2:4] == ["output_item.added", "output_item.done"]
    assert (got[3]["item"]["summary"], got[3]["item"]["encrypted_content"]) == ([], "sig")


@pytest.mark.promise("P18")
def test_parallel_calls_are_never_mixed_and_one_without_an_id_gets_one():
    got = shown(
        chunks(
            ItemStart(0, "tool_call", name="f", call_id="call_a"),
            ItemStart(1, "tool_call", name="g"),
            ArgsDelta(0, '{"a"'),
            ArgsDelta(1, "{"),
            ArgsDelta(0, ":1}"),
            ArgsDelta(1, "}"),
            ItemEnd(0),
            ItemEnd(1),
            ChoiceEnd(0, "tool_calls"),
        ),
        Finished("tool_calls"),
    )
    answer, _ = accumulated(got)
    assert [(call.name, call.arguments, call.call_id, call.status) for call in answer.output] == [
        ("f", '{"a":1}', "call_a", "completed"),
        ("g", "{}", f"call_{START.id}_1", "completed"),
    ]
    done = [frame for frame in got if frame["type"] == "response.function_call_arguments.done"]
    assert [(frame["name"], frame["arguments"]) for frame in done] == [("f", '{"a":1}'), ("g", "{}")]


def test_only_the_first_choice_is_shown():
    got = shown(chunks(ItemStart(0, "text", choice=1), TextDelta(0, "other"), ItemEnd(0), ItemStart(1, "source")))
    assert kinds(got) == ["created", "in_progress", "completed"]


@pytest.mark.promise("P17")
def test_logprobs_of_a_chat_are_those_of_the_text():
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    logprobs = msgspec.Raw(msgspec.json.encode({"content": [token], "refusal": None}))
    got = shown(chunks(ItemStart(0, "text"), TextDelta(0, "a", logprobs), ItemEnd(0)))
    assert got[4]["logprobs"] == got[5]["logprobs"] == [token]
    assert got[7]["item"]["content"][0]["logprobs"] == [token]


@pytest.mark.promise("P4")
def test_a_frame_that_is_encoded_later_says_no_more_than_it_did():
    logprobs = msgspec.Raw(b'{"content":[{"token":"a","logprob":-0.5}]}')
    records = records_of(chunks(ItemStart(0, "text"), TextDelta(0, "a", logprobs), ItemEnd(0)))
    view = OPENAI_RESPONSES.view("")
    later = [frame for record in records for frame in view.fold(record)]
    assert [view.encode(frame) for frame in later] == frames(records, "openai.responses", "")


@pytest.mark.promise("P5", "P19")
@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_why_an_answer_ended_is_said_by_its_last_frame(reason: str, kind: str, details: Any):
    last = shown(chunks(*TEXT), Finished(reason))[-1]
    assert last["type"] == "response." + kind
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == (kind, details)


@pytest.mark.promise("P5", "P7")
def test_a_stop_is_incomplete_with_what_was_said_so_far():
    got = shown(chunks(*TEXT[:2]), Cancelled("client"))
    last = got[-1]["response"]
    assert (got[-1]["type"], last["status"]) == ("response.incomplete", "incomplete")
    assert last["incomplete_details"] == {"reason": "cancelled"}
    assert (last["output"][0]["status"], last["output"][0]["content"][0]["text"]) == ("incomplete", "Hel")
    assert got[-2]["item"] == last["output"][0]


@pytest.mark.promise("P5", "P19")
def test_a_failure_is_said_by_the_answer_and_by_an_error_in_both_forms():
    failed = Failed("upstream_incomplete", "It stopped.", retryable=True, param="input")
    *_, answer, error = shown(chunks(*TEXT[:2]), failed)
    assert answer["type"] == "response.failed"
    assert answer["response"]["status"] == "failed"
    assert answer["response"]["error"] == {"code": "upstream_incomplete", "message": "It stopped."}
    inner = error.pop("error")
    assert inner == {
        "message": "It stopped.",
        "type": "server_error",
        "param": "input",
        "code": "upstream_incomplete",
        "retryable": True,
    }
    assert error == {**inner, "type": "error", "sequence_number": answer["sequence_number"] + 1}


@pytest.mark.parametrize("terminal", [Failed("x", "y"), Cancelled("client"), Finished("stop")])
def test_an_answer_that_never_began_still_begins_with_its_creation(terminal: Terminal):
    got = [json.loads(frame) for frame in frames(records_of([], terminal=terminal), "openai.responses", "")]
    assert kinds(got)[:2] == ["created", "in_progress"]
    assert got[0]["response"]["status"] == "in_progress"


def test_the_answer_repeats_what_was_asked_over_what_clients_require():
    echo = msgspec.Raw(b'{"tools":[{"type":"function","name":"f"}],"reasoning":{"effort":"low"},"store":false}')
    for frame in (shown(chunks(*TEXT), start=msgspec.structs.replace(START, echo=echo))[i] for i in (0, 1, -1)):
        answer = frame["response"]
        assert answer["tools"] == [{"type": "function", "name": "f"}]
        assert answer["reasoning"] == {"effort": "low", "summary": None}
        assert (answer["store"], answer["tool_choice"], answer["parallel_tool_calls"]) == (False, "auto", True)
        assert answer["text"] == {"format": {"type": "text"}}


@pytest.mark.promise("P4", "P17")
@settings(max_examples=100)
@given(records=streams())
def test_the_official_client_reads_every_answer(records: list[Record]):
    """Whatever ends well is whole for it, and says what the log says."""
    got = [json.loads(frame) for frame in frames(records, "openai.responses", "")]
    assert [frame["sequence_number"] for frame in got] == list(range(len(got)))
    answer, events = accumulated(got)
    assert len(events) == len(got)
    assert events[0].type == "response.created"
    if got[-1]["type"] != "response.completed":
        assert answer is None
        return
    items = [event for record in records for event in record.events if isinstance(event, ItemStart)]
    shown_items = {item.item for item in items if item.choice == 0 and item.kind == "text"}
    said = [event for record in records for event in record.events if isinstance(event, TextDelta)]
    assert answer.output_text == "".join(event.text for event in said if event.item in shown_items)


@pytest.mark.promise("P4", "P17")
@settings(max_examples=100)
@given(records=streams(foreign=False, raw=False))
def test_what_another_headrace_reads_of_a_foreign_answer_is_the_same_answer(records: list[Record]):
    """`decode(encode(events)) == events`, as far as the shape has words: choice 0, and no vendor's names."""
    if not isinstance(records[-1].terminal, Finished):
        return
    again = decoded(frames(records, "openai.responses", ""))
    first = _summary([event for record in records for event in record.events])
    assert _summary(events_of(again)) == first


def _summary(events: list[Event]) -> list[Any]:
    """Items of choice 0 with their texts; their numbers may differ."""
    items: dict[int, list[Any]] = {}
    for event in events:
        match event:
            case ItemStart() if event.choice == 0:
                items[event.item] = [event.kind, event.name if event.kind == "tool_call" else None, event.call_id, ""]
            case TextDelta() | ArgsDelta() if event.item in items:
                items[event.item][3] += event.text if isinstance(event, TextDelta) else event.json
            case _:
                pass
    return [item for item in items.values() if item[0] != "reasoning" or item[3]]


@pytest.mark.promise("P4", "P17")
def test_what_was_encoded_is_decoded_to_the_same_events():
    start = StepStart("server", "demo", "openai.responses", "resp_" + START.id)
    log = [
        Chunk((start,)),
        Chunk((ItemStart(0, "reasoning"), TextDelta(0, "r"))),
        Chunk((TextDelta(0, "s"),)),
        Chunk((Signature(0, "sig"), ItemEnd(0))),
        Chunk((ItemStart(1, "text"),)),
        *(Chunk((TextDelta(1, text),)) for text in ("a", "é", "\n", '"')),
        Chunk((ItemEnd(1), ItemStart(2, "refusal"), TextDelta(2, "no"), ItemEnd(2))),
        Chunk((ItemStart(3, "tool_call", 0, "f", "call_1"),)),
        Chunk((ArgsDelta(3, "{}"),)),
        Chunk((ItemEnd(3),)),
        Chunk((ChoiceEnd(0, "tool_calls"), StepEnd("tool_calls", Usage(1, 2, 1, 1, cache_write=1)))),
    ]
    again = events_of(decoded(frames(records_of(log, terminal=Finished("tool_calls")), "openai.responses", "")))
    assert again == events_of(log)


def test_every_frame_has_its_type_as_its_name():
    view = OPENAI_RESPONSES.view("")
    for record in records_of(chunks(*TEXT)):
        for frame in view.fold(record):
            assert view.event(frame) == json.loads(view.encode(frame))["type"]


def test_a_type_that_could_break_a_line_is_no_name():
    data = [b'{"type":"response.created","response":{"id":"r"}}', b'{"type":"a\\ndata: x"}']
    view = OPENAI_RESPONSES.view("")
    names = [view.event(frame) for record in records_of(decoded(data)) for frame in view.fold(record)]
    assert names == ["response.created", None, "response.completed"]
    assert ResponsesDecoder("s", "m").feed(b"[DONE]") is None
