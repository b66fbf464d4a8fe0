"""Headrace's own shape: requests read strictly, records as they are, answers for whoever asks later."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from headrace.dialects import NATIVE
from headrace.errors import BadRequest, UpstreamTimeout
from headrace.events import (
    Cancelled,
    Failed,
    Finished,
    ItemStart,
    Record,
    Signature,
    StreamStart,
    Terminal,
    TextDelta,
    Usage,
)
from headrace.messages import Media, Part, Settings, Tool, ToolCall
from headrace.transforms.accumulator import Accumulator
from tests.dialects.rendering import START, frames
from tests.strategies import streams

USER = {"role": "user", "content": "Hi"}


def parse(**fields: Any) -> Any:
    return NATIVE.parse(msgspec.json.encode({"model": "demo", "messages": [USER], **fields}))


@pytest.mark.promise("P17")
@given(streams(raw=False, with_logprobs=False))
def test_every_frame_is_its_record(records: list[Record]):
    data = frames(records, "native", "")
    assert [msgspec.json.decode(frame, type=Record) for frame in data] == records


@pytest.mark.promise("P17")
@given(streams())
def test_raw_frames_and_logprobs_are_in_the_frame(records: list[Record]):
    for record, frame in zip(records, frames(records, "native", ""), strict=True):
        value = json.loads(frame)
        assert value["seq"] == record.seq
        assert value.get("raw") == (json.loads(bytes(record.raw)) if record.raw is not None else None)
        assert [event["type"] for event in value["events"]] == [
            type(event).__struct_config__.tag for event in record.events
        ]


def test_every_field_is_read():
    request = parse(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "x": 1}], "name": "ann"},
            {"role": "assistant", "tool_calls": [{"id": "c1", "name": "f", "arguments": "{}"}]},
            {"role": "tool", "content": "42", "call_id": "c1", "is_error": True},
        ],
        settings={"temperature": 0.5, "stop": ["a", "b"], "n": 2, "tool_choice": "auto"},
        tools=[{"name": "f", "parameters": {"type": "object"}}],
        metadata={"k": "v"},
        stream=True,
    )
    assert (request.dialect, request.model, request.stream, request.params) == ("native", "demo", True, "")
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "tool"]
    assert [part.kind for part in request.messages[1].parts] == ["text", "image_url"]
    assert request.messages[2].tool_calls == (ToolCall("c1", "f", "{}"),)
    assert (request.messages[3].call_id, request.messages[3].is_error) == ("c1", True)
    assert request.settings == Settings(temperature=0.5, stop=("a", "b"), n=2, tool_choice="auto")
    assert request.tools == (Tool("f", None, {"type": "object"}),)
    assert request.metadata == {"k": "v"}
    assert parse(settings=None).settings == Settings()


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "refusal", "text": "No."}, Part("refusal", "No.")),
        ({"type": "reasoning", "text": "Hm", "signature": "s=="}, Part("reasoning", "Hm", signature="s==")),
        ({"type": "redacted", "signature": "s=="}, Part("redacted", signature="s==")),
        ({"type": "image", "url": "u", "detail": "low"}, Part("image", media=Media(url="u", detail="low"))),
        (
            {"type": "image", "data": "AA", "media_type": "image/png"},
            Part("image", media=Media(data="AA", type="image/png")),
        ),
        ({"type": "image", "file_id": "f"}, Part("image", media=Media(file_id="f"))),
        ({"type": "audio", "data": "AA", "format": "wav"}, Part("audio", media=Media(data="AA", type="wav"))),
        (
            {"type": "file", "data": "AA", "media_type": "application/pdf", "name": "a.pdf"},
            Part("file", media=Media(data="AA", type="application/pdf", name="a.pdf")),
        ),
    ],
)
def test_parts_are_the_neutral_ones(part: dict[str, Any], expected: Part):
    (message,) = parse(messages=[{"role": "user", "content": [part]}]).messages
    assert message.parts == (expected,)


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "text", "text": "x", "y": 1}, ".y"),
    ({"type": "refusal"}, ".text"),
    ({"type": "reasoning"}, ".text"),
    ({"type": "redacted"}, ".signature"),
    ({"type": "image"}, ""),
    ({"type": "image", "url": "x", "data": "AA"}, ""),
    ({"type": "image", "url": ""}, ".url"),
    ({"type": "image", "data": "AA"}, ".media_type"),
    ({"type": "audio", "data": "AA"}, ".format"),
    ({"type": "file", "name": "x"}, ""),
    ({"type": "file", "file": {}}, ".file"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [5]}, "messages[0]"),
    ({"messages": [{"role": "robot"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    *(({"messages": [{"role": "user", "content": [part]}]}, f"messages[0].content[0]{path}") for part, path in PARTS),
    ({"messages": [{**USER, "is_error": 1}]}, "messages[0].is_error"),
    ({"messages": [{**USER, "tool_call_id": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{**USER, "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].name"),
    ({"settings": []}, "settings"),
    ({"settings": {"temperature": -1}}, "settings.temperature"),
    ({"settings": {"top_p": 2}}, "settings.top_p"),
    ({"settings": {"max_tokens": 0}}, "settings.max_tokens"),
    ({"settings": {"stop": "a"}}, "settings.stop"),
    ({"settings": {"stop": [1]}}, "settings.stop[0]"),
    ({"settings": {"heat": 1}}, "settings.heat"),
    ({"tools": {}}, "tools"),
    ({"tools": [{}]}, "tools[0].name"),
    ({"metadata": {"k": 1}}, "metadata[...]"),
    ({"stream": 1}, "stream"),
    ({"temperature": 1}, "temperature"),
]


@pytest.mark.promise("P25", "P19")
@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[f"{param}-{i}" for i, (_, param) in enumerate(WRONG)])
def test_a_wrong_or_unknown_field_is_named(fields: dict[str, Any], param: str):
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


@pytest.mark.promise("P19")
def test_an_error_says_what_applies():
    assert json.loads(NATIVE.error(UpstreamTimeout("No token."))) == {
        "error": {"code": "upstream_timeout", "message": "No token.", "retryable": True}
    }
    assert json.loads(NATIVE.error(BadRequest("Bad.", param="model"), partial="x"))["error"] == {
        "code": "invalid_request",
        "message": "Bad.",
        "retryable": False,
        "param": "model",
        "partial": "x",
    }


@pytest.mark.parametrize(
    ("terminal", "fields"),
    [
        (None, {}),
        (Finished("length"), {"finish_reason": "length"}),
        (Cancelled("client"), {"cancelled_by": "client"}),
        (
            Failed("upstream_timeout", "No token.", retryable=True),
            {"error": {"code": "upstream_timeout", "message": "No token.", "retryable": True}},
        ),
    ],
)
def test_an_answer_says_what_is_there_and_how_it_ended(terminal: Terminal | None, fields: dict[str, Any]):
    start: StreamStart = msgspec.structs.replace(START, meta={"k": "v"})
    accumulator = Accumulator()
    events = (
        ItemStart(0, "reasoning", name="reasoning"),
        TextDelta(0, "Hm"),
        Signature(0, "s=="),
        ItemStart(1, "text"),
        TextDelta(1, "Hi"),
        ItemStart(2, "tool_call", name="f", call_id="c1"),
        Usage(3, 4),
    )
    accumulator.feed([Record(0, 0, (start,)), Record(1, 0, events)])
    if terminal is not None:
        accumulator.feed([Record(2, 0, (terminal,))])
    assert json.loads(NATIVE.answer(accumulator.answer())) == {
        "id": START.id,
        "model": "demo",
        "created": START.created,
        "text": "Hi",
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "items": [
                    {"kind": "reasoning", "text": "Hm", "name": "reasoning", "signature": "s=="},
                    {"kind": "text", "text": "Hi"},
                    {"kind": "tool_call", "text": "", "name": "f", "call_id": "c1"},
                ],
            }
        ],
        "usage": {"input": 3, "output": 4, "cached": 0, "reasoning": 0, "source": "provider", "cache_write": 0},
        "metadata": {"k": "v"},
        **fields,
    }
