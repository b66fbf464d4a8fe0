"""Whole answers in every state, the next turn's input, and answers that were not streamed."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from openai.types.responses import Response

from headrace.dialects import OPENAI_RESPONSES
from headrace.dialects.openai_responses import (
    ResponsesDecoder,
    chunks_of,
    output_items,
)
from headrace.errors import BadRequest, HeadraceError, RateLimited, UpstreamProtocol
from headrace.events import (
    Answer,
    ArgsDelta,
    Cancelled,
    Chunk,
    Failed,
    Finished,
    ItemEnd,
    ItemStart,
    Record,
    Signature,
    StepEnd,
    StepStart,
    StreamStart,
    Terminal,
    TextDelta,
    Usage,
)
from headrace.transforms.accumulator import Accumulator
from tests.dialects.openai_responses.wire import WHOLE, decoded, ended, events_of, fixture, shown
from tests.dialects.rendering import START, frames, records_of
from tests.strategies import streams

STEP = StepStart("server", "model", "openai.chat", "up-1")
SAID = (
    STEP,
    ItemStart(0, "reasoning"),
    TextDelta(0, "Hm"),
    Signature(0, "sig"),
    ItemEnd(0),
    ItemStart(1, "reasoning"),
    TextDelta(1, "unsigned"),
    ItemEnd(1),
    ItemStart(2, "text"),
    TextDelta(2, "Hello"),
    ItemEnd(2),
    ItemStart(3, "tool_call", 0, "f", "call_1"),
    ArgsDelta(3, "{}"),
    ItemEnd(3),
    ItemStart(4, "source"),
)


def folded(records: Sequence[Record]) -> Answer:
    accumulator = Accumulator()
    accumulator.feed(records)
    return accumulator.answer()


def answer_of(chunks: Sequence[Chunk], terminal: Terminal | None = None, start: StreamStart = START) -> Answer:
    records = records_of(chunks, start, terminal)
    return folded(records if terminal is not None else records[:-1])


def as_json(answer: Answer) -> dict[str, Any]:
    value = json.loads(OPENAI_RESPONSES.answer(answer))
    Response.model_validate(value | {"error": None, "incomplete_details": None})  # whose words are also our own
    return value


@pytest.mark.parametrize(
    ("chunks", "terminal", "status"),
    [
        ([], None, "queued"),
        ([Chunk((STEP,))], None, "in_progress"),
        ([Chunk(SAID)], None, "in_progress"),
        ([Chunk(SAID)], Finished("tool_calls"), "completed"),
        ([Chunk(SAID)], Finished("length"), "incomplete"),
        ([Chunk(SAID)], Failed("upstream_incomplete", "It stopped."), "failed"),
        ([Chunk(SAID)], Cancelled("client"), "cancelled"),
        ([], Failed("upstream_auth", "No."), "failed"),
    ],
)
def test_an_answer_says_how_it_stands_with_its_output_so_far(
    chunks: list[Chunk], terminal: Terminal | None, status: str
):
    value = as_json(answer_of(chunks, terminal))
    assert value["status"] == status
    assert value["id"] == "resp_" + START.id
    assert [item["type"] for item in value["output"]] == (
        ["reasoning", "reasoning", "message", "function_call"] if chunks and len(chunks[0].events) > 1 else []
    )
    if isinstance(terminal, Failed):
        assert value["error"] == {"code": terminal.code, "message": terminal.message}


def test_usage_and_the_request_are_in_it():
    echo = msgspec.Raw(b'{"instructions":"Be brief.","temperature":0.5,"metadata":{"k":"v"}}')
    start = msgspec.structs.replace(START, echo=echo)
    usage = Usage(3, 2, 1, 1, source="estimated", cache_write=2)
    value = as_json(answer_of([Chunk((STEP, StepEnd("stop", usage)))], Finished("stop"), start))
    assert (value["instructions"], value["temperature"], value["metadata"]) == ("Be brief.", 0.5, {"k": "v"})
    assert value["usage"]["input_tokens_details"] == {"cached_tokens": 1, "cache_write_tokens": 2}
    assert value["usage"]["source"] == "estimated"


@settings(max_examples=100)
@given(records=streams())
def test_the_answer_is_what_the_last_frame_says(records: list[Record]):
    if not isinstance(records[-1].terminal, Finished):
        return
    last = json.loads(frames(records, "openai.responses", "")[-1])["response"]
    value = json.loads(OPENAI_RESPONSES.answer(folded(records)))
    for fields in (last, value):
        for item in fields["output"]:
            item.pop("encrypted_content", None)  # of a signature that came too late for the stream
            item.pop("status")
    assert value == last


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_of_the_same_shape_is_the_model_servers_own(name: str):
    chunks = decoded(fixture(name))
    value = as_json(answer_of(chunks, ended(chunks)))
    sent = json.loads(fixture(name)[-1])["response"]
    ours = ("id", "created_at", "model", "store")
    assert {key: value[key] for key in value if key not in ours} == {key: sent[key] for key in sent if key not in ours}
    assert value == shown(chunks, ended(chunks))[-1]["response"]


@pytest.mark.promise("P17")
@pytest.mark.parametrize("terminal", [None, Cancelled("client"), Failed("x", "y")])
def test_an_answer_of_the_same_shape_that_is_not_whole_has_what_is_done_and_what_was_said(terminal: Any):
    *most, _, _, _, _ = decoded(fixture("web_search"))
    value = as_json(answer_of(most, terminal))
    search, message = value["output"]
    assert search == json.loads(fixture("web_search")[-1])["response"]["output"][0]
    assert message["content"][0]["text"] == "One good story (example.com)."
    assert message["status"] == ("in_progress" if terminal is None else "incomplete")


@pytest.mark.promise("P17", "P18")
def test_the_output_of_one_turn_is_the_input_of_the_next():
    items = output_items(answer_of([Chunk(SAID)], Finished("tool_calls")))
    assert items == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "sig"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
        {"type": "function_call", "arguments": "{}", "call_id": "call_1", "name": "f"},
    ]
    (turn,) = OPENAI_RESPONSES.parse(msgspec.json.encode({"model": "m", "input": items})).messages
    assert (turn.text, turn.tool_calls[0].id, turn.parts[0].signature) == ("Hello", "call_1", "sig")


@pytest.mark.parametrize("name", WHOLE)
def test_the_output_of_the_same_shape_can_be_said_again(name: str):
    chunks = decoded(fixture(name))
    items = output_items(answer_of(chunks, ended(chunks)))
    assert items
    assert all("status" not in item and ("id" in item) == (item["type"] == "web_search_call") for item in items)
    OPENAI_RESPONSES.parse(msgspec.json.encode({"model": "m", "input": items}))


@pytest.mark.promise("P12", "P17")
@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_that_was_not_streamed_is_the_same_stream_in_one_piece(name: str):
    body = msgspec.json.encode(json.loads(fixture(name)[-1])["response"])
    chunks = chunks_of(body, ResponsesDecoder("server", "model"))
    streamed = decoded(fixture(name))
    joined = [_joined(events_of(each)) for each in (chunks, streamed)]
    assert joined[0] == joined[1]
    assert as_json(answer_of(chunks, ended(chunks))) == as_json(answer_of(streamed, ended(streamed)))
    kinds = [[frame["type"] for frame in shown(each, ended(each))] for each in (chunks, streamed)]
    assert set(kinds[0]) >= {kind for kind in kinds[1] if "web_search" not in kind and "annotation" not in kind} - {
        "response.in_progress"
    }


def _joined(events: list[Any]) -> dict[int, tuple[Any, str]]:
    """Items and all their text."""
    items: dict[int, tuple[Any, str]] = {}
    for event in events:
        match event:
            case ItemStart():
                items[event.item] = (event, "")
            case TextDelta() | ArgsDelta():
                start, text = items[event.item]
                items[event.item] = (start, text + (event.text if isinstance(event, TextDelta) else event.json))
            case _:
                pass
    return items


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", UpstreamProtocol),
        (b"[]", UpstreamProtocol),
        (b'{"output":[]}', UpstreamProtocol),
        (b'{"status":"completed"}', UpstreamProtocol),
        (b'{"status":"in_progress","output":[]}', UpstreamProtocol),
        (b'{"status":"completed","output":[5]}', UpstreamProtocol),
        (b'{"error":{"code":"rate_limit_exceeded","message":"m"}}', RateLimited),
        (b'{"status":"failed","output":[],"error":{"code":"rate_limit_exceeded","message":"m"}}', RateLimited),
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes, error: type[HeadraceError]):
    with pytest.raises(error):
        chunks_of(body, ResponsesDecoder("server", "model"))


@pytest.mark.promise("P19")
def test_an_error_has_the_form_of_the_api_with_what_was_received():
    body = json.loads(OPENAI_RESPONSES.error(BadRequest("input is missing.", param="input"), partial="Hel"))
    assert body["error"] == {
        "message": "input is missing.",
        "type": "invalid_request_error",
        "param": "input",
        "code": "invalid_request",
        "retryable": False,
        "partial": "Hel",
    }
