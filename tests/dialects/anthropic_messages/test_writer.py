"""What a Messages server is asked: the same for its own shape, a translation for any other, and never less."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.dialects.anthropic_messages import write_count, write_request
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Request, Settings, Tool, ToolCall
from tests.strategies import json_values, texts

HI = Message("user", (Part("text", "Hi"),))


def written(*messages: Message, tools: tuple[Tool, ...] = (), **fields: Any) -> dict[str, Any]:
    request = Request("native", "public", messages or (HI,), tools, Settings(**fields))
    return json.loads(write_request(request, "claude", stream=True))


def said(role: Any, *parts: Part, **fields: Any) -> Message:
    return Message(role, parts, **fields)


def text(value: str) -> Part:
    return Part("text", value)


# The same shape


@pytest.mark.promise("P17")
def test_a_request_of_the_same_shape_goes_on_as_it_came():
    odd = b'{"big":123456789012345678901234567890,"small":1.50e-7,"text":"\\u00e9\\/"}'
    body = b'{"model":"public","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"new":%b}' % odd
    sent = write_request(ANTHROPIC_MESSAGES.parse(body), "claude", stream=True)
    assert odd in sent
    assert json.loads(sent) == {**json.loads(body), "model": "claude", "stream": True}


@pytest.mark.promise("P17")
@settings(max_examples=100)
@given(unknown=st.dictionaries(texts.map(lambda name: "x" + name), json_values, max_size=3))
def test_fields_that_nobody_knows_survive(unknown: dict[str, Any]):
    body = {"model": "public", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], **unknown}
    sent = write_request(ANTHROPIC_MESSAGES.parse(msgspec.json.encode(body)), "claude", stream=False)
    assert json.loads(sent) == {**body, "model": "claude", "stream": False}


def test_counting_asks_only_what_the_endpoint_takes():
    body = {
        "model": "public",
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "s",
        "tools": [],
        "thinking": {"type": "adaptive"},
    }
    more = {"max_tokens": 5, "stream": True, "temperature": 1, "metadata": {"user_id": "u"}}
    sent = write_count(ANTHROPIC_MESSAGES.parse(msgspec.json.encode({**body, **more})), "claude")
    assert json.loads(sent) == {**body, "model": "claude"}
    other = Request("native", "public", (HI,), settings=Settings(temperature=0.5, stop=("x",)))
    assert json.loads(write_count(other, "claude")) == {
        "model": "claude",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


# Any other shape


def test_a_request_without_a_limit_gets_one():
    assert written() == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
    }


def test_system_prompts_are_hoisted_before_the_conversation():
    one = written(said("system", text("a")), HI)
    assert one["system"] == "a"
    many = written(said("system", text("a")), HI, said("developer", text("b"), text("")))
    assert many["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert len(many["messages"]) == 1


@pytest.mark.promise("P18")
def test_results_of_tools_and_what_follows_are_one_turn():
    calls = (ToolCall("t1", "f", '{"n": 1.50}'), ToolCall("t2", "g", ""))
    sent = written(
        HI,
        said("assistant", text("I look."), tool_calls=calls),
        said("user", text("Quick!")),
        said("tool", text("18"), call_id="t1"),
        said("tool", text("a"), text("b"), call_id="t2", is_error=True),
        said("tool", call_id="t3"),
    )
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"][1:] == [
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1.5}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ]
    assert sent["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "18"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            "is_error": True,
        },
        {"type": "tool_result", "tool_use_id": "t3"},
        {"type": "text", "text": "Quick!"},
    ]


@pytest.mark.promise("P18")
def test_arguments_are_written_as_the_model_wrote_them():
    calls = (ToolCall("t", "f", '{"n": 1.50,  "é":"\\u00e9"}'),)
    request = Request("openai.chat", "public", (HI, said("assistant", tool_calls=calls)))
    assert '"input":{"n": 1.50,  "é":"\\u00e9"}'.encode() in write_request(request, "m", stream=True)


@pytest.mark.promise("P25", "P18")
@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "null", "no"])
def test_arguments_that_are_no_object_are_refused(arguments: str):
    with pytest.raises(BadRequest) as caught:
        written(HI, said("assistant", tool_calls=(ToolCall("t", "f", arguments),)))
    assert caught.value.param == "messages[1].tool_calls[0].function.arguments"


def test_turns_of_one_side_are_one_turn_and_empty_ones_are_none():
    sent = written(HI, said("user", text("there")), said("assistant", text("")), said("user", text("?")))
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": word} for word in ("Hi", "there", "?")]}
    ]


def test_very_many_messages_of_one_side_are_several_turns_of_a_bounded_size():
    turns = written(*[said("user", text(str(number))) for number in range(1200)])["messages"]
    assert [len(turn["content"]) for turn in turns] == [500, 500, 200]
    assert {turn["role"] for turn in turns} == {"user"}
    assert [block["text"] for turn in turns for block in turn["content"]] == [str(number) for number in range(1200)]


def test_media_are_said_in_anthropics_form():
    sent = written(
        said(
            "user",
            Part("image", media=Media(url="data:image/png;base64,aGk=")),
            Part("image", media=Media(url="https://example.com/a.png")),
            Part("image", media=Media(file_id="file_1")),
            Part("file", media=Media(data="JVBERg==", type="application/pdf", name="a.pdf")),
            Part("file", media=Media(data="JVBERg==")),
            Part("file", media=Media(data="aGk=", type="image/png", name="a.png")),
        )
    )
    assert sent["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ]


@pytest.mark.promise("P17")
def test_reasoning_goes_on_where_the_model_signed_it():
    sent = written(
        HI,
        said(
            "assistant",
            Part("reasoning", "Hm", signature="c2ln+/=="),
            Part("reasoning", "Unsigned"),
            Part("redacted", signature="x"),
            Part("refusal", "No."),
        ),
    )
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln+/=="},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "No."},
    ]


def test_settings_have_anthropics_names():
    schema = {"type": "object"}
    sent = written(
        tools=(Tool("f", "d", {"properties": {}}, True), Tool("g")),
        temperature=1,
        top_p=0.5,
        top_k=3,
        max_tokens=7,
        stop=("END",),
        n=1,
        presence_penalty=0,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        reasoning_effort="xhigh",
    )
    assert {name: value for name, value in sent.items() if name not in ("model", "messages", "stream")} == {
        "max_tokens": 7,
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}, "strict": True},
            {"name": "g", "input_schema": {"type": "object"}},
        ],
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 3,
        "stop_sequences": ["END"],
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": schema}},
    }


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_a_tool_has_anthropics_words(fields: dict[str, Any], choice: Any):
    assert written(tools=(Tool("f"),), **fields).get("tool_choice") == choice
    assert "tool_choice" not in written(**fields)


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("none", {"thinking": {"type": "disabled"}}),
        ("minimal", {"output_config": {"effort": "low"}}),
        ("high", {"output_config": {"effort": "high"}}),
    ],
)
def test_an_effort_is_anthropics(effort: str, expected: dict[str, Any]):
    sent = written(reasoning_effort=effort)
    assert {name: sent[name] for name in ("thinking", "output_config") if name in sent} == expected


SAID_NOWHERE: list[tuple[dict[str, Any], str]] = [
    ({"seed": 0}, "seed"),
    ({"n": 2}, "n"),
    ({"presence_penalty": 0.1}, "presence_penalty"),
    ({"frequency_penalty": -1}, "frequency_penalty"),
    ({"temperature": 1.5}, "temperature"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
    ({"tools": (Tool("f"),), "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"tools": (Tool("f"),), "tool_choice": "f"}, "tool_choice"),
    ({"tools": (Tool("w", kind="web_search"),)}, "tools[0]"),
]


@pytest.mark.promise("P17", "P25")
@pytest.mark.parametrize(("fields", "param"), SAID_NOWHERE, ids=[param for _, param in SAID_NOWHERE])
def test_a_setting_that_cannot_be_said_is_refused(fields: dict[str, Any], param: str):
    with pytest.raises(BadRequest) as caught:
        written(**fields)
    assert (caught.value.error_code, caught.value.param) == ("unsupported_parameter", param)


PARTS_NOWHERE: list[tuple[Message, str]] = [
    (said("user", text("a"), Part("audio", media=Media("aGk=", "wav"))), "messages[0].content[1]"),
    (said("user", Part("input_thing", raw=msgspec.Raw(b"{}"))), "messages[0].content[0]"),
    (said("user", Part("file", media=Media("aGk=", "text/csv"))), "messages[0].content[0]"),
    (said("user", Part("image", media=Media("aGk=", "application/pdf"))), "messages[0].content[0]"),
    (said("user", Part("image", media=Media())), "messages[0].content[0]"),
    (said("system", Part("image", media=Media(url="https://x"))), "messages[0].content"),
    (said("tool", text("a")), "messages[0].tool_call_id"),
]


@pytest.mark.promise("P17", "P25")
@pytest.mark.parametrize(("message", "param"), PARTS_NOWHERE)
def test_a_part_that_cannot_be_said_is_refused(message: Message, param: str):
    with pytest.raises(BadRequest) as caught:
        written(message)
    assert (caught.value.error_code, caught.value.param) == ("unsupported_parameter", param)


@pytest.mark.promise("P18")
def test_what_was_read_of_a_request_is_written_again():
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, {}]}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    body = {
        "model": "public",
        "max_tokens": 9,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, image]},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [image]}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
    }
    request = ANTHROPIC_MESSAGES.parse(msgspec.json.encode(body))
    foreign = msgspec.structs.replace(request, dialect="native", body=b"")
    assert json.loads(write_request(foreign, "public", stream=False)) == {**body, "stream": False}
