"""Parts of messages: neutral when they are read, and said in chat completions' words for callers of other shapes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from headrace.dialects import NATIVE, OPENAI_CHAT
from headrace.dialects.openai_chat import write_request
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Request, Settings, Tool, ToolCall

PDF = "data:application/pdf;base64,AAAA"
FOREIGN = "a.vendor"
"""A shape that neither is this one nor ours."""


def read(*messages: dict[str, Any], **fields: Any) -> Request:
    return OPENAI_CHAT.parse(msgspec.json.encode({"model": "demo", "messages": messages, **fields}))


def parts_of(message: dict[str, Any]) -> tuple[Part, ...]:
    (only,) = read(message).messages
    return only.parts


def written(*messages: Message, dialect: str = FOREIGN, **fields: Any) -> dict[str, Any]:
    return json.loads(write_request(Request(dialect, "demo", messages, **fields), "up", stream=True))


def content_of(*parts: Part, dialect: str = FOREIGN) -> Any:
    return written(Message("user", parts), dialect=dialect)["messages"][0]["content"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
            Part("image", media=Media(url="https://example.org/a.png", detail="low")),
        ),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,AA"},
            Part("image", media=Media(url="data:image/png;base64,AA")),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            Part("audio", media=Media(data="AAAA", type="mp3")),
        ),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            Part("file", media=Media(url=PDF, name="a.pdf")),
        ),
        ({"type": "file", "file": {"file_data": "AAAA"}}, Part("file", media=Media(data="AAAA"))),
        ({"type": "file", "file": {"file_id": "file-1"}}, Part("file", media=Media(file_id="file-1"))),
        ({"type": "refusal", "refusal": "No."}, Part("refusal", "No.")),
    ],
)
def test_a_known_part_is_neutral(part: dict[str, Any], expected: Part):
    assert parts_of({"role": "user", "content": [part]}) == (expected,)


def test_a_part_of_another_type_keeps_its_json():
    (part,) = parts_of({"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]})
    assert part.kind == "video_url"
    assert json.loads(bytes(part.raw or b"")) == {"type": "video_url", "video_url": {"url": "x"}}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_comes_before_the_text_and_a_refusal_after_it(name: str):
    said = {"role": "assistant", "content": "Hi", name: "Hm", "refusal": "No."}
    assert parts_of(said) == (Part("reasoning", "Hm"), Part("text", "Hi"), Part("refusal", "No."))


def test_reasoning_that_is_said_under_both_names_is_one():
    said = {"role": "assistant", "content": None, "reasoning_content": "Hm", "reasoning": "Hm"}
    assert parts_of(said) == (Part("reasoning", "Hm"),)


def test_what_only_a_server_of_this_shape_understands_is_no_neutral_part():
    (message,) = read(
        {
            "role": "assistant",
            "reasoning": {"steps": 2},
            "audio": {"id": "audio-1"},
            "function_call": {"name": "f", "arguments": "{}"},
            "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}],
        }
    ).messages
    assert [part.kind for part in message.parts] == ["reasoning", "output_audio", "function_call", "custom"]
    assert all(part.raw is not None and not part.text for part in message.parts)
    assert message.tool_calls == ()


@pytest.mark.promise("P17")
def test_what_a_request_cannot_say_is_named():
    request = read(
        {"role": "user", "content": "Hi"},
        {"role": "function", "name": "f", "content": "42"},
        functions=[{"name": "f"}],
        function_call="auto",
        logit_bias={},
        logprobs=False,
        modalities=["text", "audio"],
        user="ann",
        top_k=4,
    )
    assert OPENAI_CHAT.unsaid(request) == ["functions", "function_call", "modalities", "messages[1].role"]


@pytest.mark.parametrize(("given", "expected"), [(None, None), (0, None), (-1, None), (4, 4)])
def test_all_words_are_the_default_of_top_k(given: int | None, expected: int | None):
    assert read({"role": "user", "content": "Hi"}, top_k=given).settings.top_k == expected


@pytest.mark.promise("P17")
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part("text", "Hi"), "Hi"),
        (Part("refusal", "No."), [{"type": "refusal", "refusal": "No."}]),
        (
            Part("image", media=Media(url="https://example.org/a.png", detail="low")),
            [{"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}],
        ),
        (
            Part("image", media=Media(data="AAAA", type="image/png")),
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        ),
        (
            Part("audio", media=Media(data="AAAA", type="wav")),
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
        ),
        (
            Part("audio", media=Media(url="data:audio/mpeg;base64,AAAA")),
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}],
        ),
        (
            Part("file", media=Media(data="AAAA", type="application/pdf")),
            [{"type": "file", "file": {"filename": "file.pdf", "file_data": PDF}}],
        ),
        (
            Part("file", media=Media(url=PDF, name="a.pdf")),
            [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}],
        ),
        (Part("file", media=Media(file_id="file-1", name="a.pdf")), [{"type": "file", "file": {"file_id": "file-1"}}]),
    ],
)
def test_a_part_of_another_shape_is_said(part: Part, expected: Any):
    assert content_of(part) == expected


UNSAYABLE = [
    Part("image", media=Media(file_id="file-1")),
    Part("audio", media=Media(url="https://example.org/a.wav")),
    Part("audio", media=Media(data="AAAA")),
    Part("file", media=Media(url="https://example.org/a.pdf")),
    Part("search_result", raw=msgspec.Raw(b'{"type":"search_result"}')),
]


@pytest.mark.promise("P17", "P25")
@pytest.mark.parametrize("part", UNSAYABLE, ids=lambda part: part.kind)
@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
def test_what_has_no_word_here_is_refused(part: Part, role: Any):
    with pytest.raises(BadRequest) as refused:
        written(Message(role, (part,)))
    assert (refused.value.error_code, refused.value.param) == ("unsupported_parameter", "messages")
    if part.raw is None:
        with pytest.raises(BadRequest) as refused:
            written(Message("user"), Message(role, (part,)), dialect=NATIVE.name)
        assert refused.value.param == "messages[1].content"


def test_a_part_that_our_shape_does_not_know_is_in_the_upstreams_form():
    part = Part("video_url", raw=msgspec.Raw(b'{"type":"video_url","x":1.50}'))
    assert content_of(Part("text", "Hi"), part, dialect=NATIVE.name) == [
        {"type": "text", "text": "Hi"},
        {"type": "video_url", "x": 1.5},
    ]


def test_reasoning_goes_back_under_the_vendors_name_and_its_proof_stays_behind():
    parts = (Part("reasoning", "Hm.", signature="s=="), Part("redacted", signature="t=="), Part("reasoning", "Ah!"))
    (said,) = written(Message("assistant", (*parts, Part("text", "Hi"))))["messages"]
    assert said == {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.\n\nAh!"}


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (Message("assistant", tool_calls=(ToolCall("c", "f", "{}"),)), None),
        (Message("assistant", (Part("redacted", signature="s=="),)), ""),
        (Message("user"), ""),
    ],
)
def test_only_a_message_with_calls_has_no_content(message: Message, content: str | None):
    (said,) = written(message)["messages"]
    assert said["content"] == content


PICTURE = Part("image", media=Media(url="https://example.org/a.png"))
SHOWN = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.promise("P17", "P18")
def test_what_a_tool_shows_comes_after_the_last_result_of_the_turn():
    def result(call: str, *parts: Part) -> Message:
        return Message("tool", parts, call_id=call)

    asked = written(
        Message("assistant", tool_calls=(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))),
        result("a", Part("text", "a page"), PICTURE),
        result("b", PICTURE),
        Message("user", (Part("text", "And?"),)),
        result("c", PICTURE),
    )
    _, first, second, shown, user, third, last = asked["messages"]
    assert first == {"role": "tool", "tool_call_id": "a", "content": "a page"}
    assert second == {"role": "tool", "tool_call_id": "b", "content": "The next message shows it."}
    introductions = [{"type": "text", "text": f"This is in the result of the call {call}"} for call in "ab"]
    assert shown == {"role": "user", "content": [introductions[0], SHOWN, introductions[1], SHOWN]}
    assert user == {"role": "user", "content": "And?"}
    assert (third["tool_call_id"], last["role"], last["content"][1]) == ("c", "user", SHOWN)


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ((Part("text", "no such file"),), "Error: no such file"),
        ((), "Error: "),
        (
            (Part("text", "no"), Part("text", "file")),
            [{"type": "text", "text": "Error: no"}, {"type": "text", "text": "file"}],
        ),
    ],
)
def test_the_result_of_a_tool_that_failed_says_so(parts: Sequence[Part], content: Any):
    (said,) = written(Message("tool", tuple(parts), call_id="c", is_error=True))["messages"]
    assert said["content"] == content


def test_settings_go_on_under_the_names_that_servers_know():
    settings = Settings(max_tokens=5, top_k=3, reasoning_effort="low", response_format={"type": "json_object"})
    asked = written(Message("user"), settings=settings)
    names = ("max_tokens", "top_k", "reasoning_effort", "response_format")
    assert [asked[name] for name in names] == [5, 3, "low", {"type": "json_object"}]


@pytest.mark.promise("P17", "P25")
def test_a_tool_that_is_no_function_is_refused():
    with pytest.raises(BadRequest) as refused:
        written(Message("user"), tools=(Tool("f"), Tool("web_search", kind="web_search_20260101")))
    assert (refused.value.error_code, refused.value.param) == ("unsupported_parameter", "tools[1]")
