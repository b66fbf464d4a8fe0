"""Messages requests as they are read: every field, and what is wrong with one by its name."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.dialects.anthropic_messages import write_request
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Request, Settings, Tool, ToolCall
from tests.strategies import json_values

USER = {"role": "user", "content": "Hi"}
BODY: dict[str, Any] = {"model": "claude", "max_tokens": 99, "messages": [USER]}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}


def parse(**fields: Any) -> Request:
    return ANTHROPIC_MESSAGES.parse(msgspec.json.encode({**BODY, **fields}))


def messages_of(*messages: Any) -> list[Message]:
    return list(parse(messages=messages).messages)


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def test_every_field_is_read():
    request = parse(
        system="Be brief.",
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u-1"},
    )
    assert (request.dialect, request.model, request.stream) == ("anthropic.messages", "claude", True)
    assert list(request.messages) == [
        Message("system", (Part("text", "Be brief."),)),
        Message("user", (Part("text", "Hi"),)),
    ]
    assert request.tools == (
        Tool("f", "d", {"type": "object"}, True),
        Tool("web_search", kind="web_search_20250305"),
    )
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert request.settings == Settings(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_tokens=99,
        stop=("END",),
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": schema},
        reasoning_effort="high",
    )
    assert request.metadata == {"user_id": "u-1"}


def test_null_is_the_same_as_absent():
    names = ["system", "stream", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "thinking"]
    request = parse(**dict.fromkeys([*names, "output_config", "metadata"]))
    assert msgspec.structs.replace(request, body=b"") == msgspec.structs.replace(parse(), body=b"")


def test_a_system_prompt_in_blocks_is_a_message():
    request = parse(
        system=[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    )
    assert next(iter(request.messages)) == Message("system", (Part("text", "a"), Part("text", "b")))


def test_a_system_message_in_the_conversation_stays_in_its_place():
    said = messages_of(USER, {"role": "system", "content": "Now in French."})
    assert [message.role for message in said] == ["user", "system"]


def test_images_and_documents_are_media():
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    (message,) = messages_of(
        user(
            {"type": "image", "source": PNG},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {"type": "document", "source": pdf, "title": "Paper"},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
        )
    )
    assert message.parts == (
        Part("image", media=Media(data="aGk=", type="image/png")),
        Part("image", media=Media(url="https://example.com/a.png")),
        Part("image", media=Media(file_id="file_1")),
        Part("file", media=Media(data="JVBERg==", type="application/pdf", name="Paper")),
        Part("file", media=Media(url="https://example.com/a.pdf")),
        Part("file", media=Media(file_id="file_2")),
    )


def test_documents_that_are_text_are_their_text_after_what_they_are_called():
    plain = {"type": "text", "media_type": "text/plain", "data": "Once."}
    blocks = {"type": "content", "content": [{"type": "text", "text": "upon"}, {"type": "image", "source": PNG}]}
    (message,) = messages_of(
        user(
            {"type": "document", "source": plain, "title": "Tale", "context": "For children"},
            {"type": "document", "source": blocks},
            {"type": "document", "source": {"type": "content", "content": "a time"}},
        )
    )
    said = [part.text or part.kind for part in message.parts]
    assert said == ["Tale", "For children", "Once.", "upon", "image", "a time"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "text", "data": "a"}, "citations": {"enabled": True}},
        {"type": "search_result", "title": "t", "source": "s", "content": []},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "document", "source": {"type": "new"}},
    ],
)
def test_what_only_anthropics_servers_understand_keeps_its_json(block: dict[str, Any]):
    (message,) = messages_of(user(block))
    (part,) = message.parts
    assert part.kind == block["type"]
    assert part.raw is not None and json.loads(bytes(part.raw)) == block


@pytest.mark.promise("P18")
def test_results_of_tools_are_messages_of_their_own_before_the_rest():
    said = messages_of(
        user(
            {"type": "text", "text": "And now?"},
            {"type": "tool_result", "tool_use_id": "t1", "content": "18 degrees"},
            {
                "type": "tool_result",
                "tool_use_id": "t2",
                "content": [{"type": "image", "source": PNG}],
                "is_error": True,
            },
            {"type": "tool_result", "tool_use_id": "t3"},
        ),
        user({"type": "tool_result", "tool_use_id": "t4"}),
    )
    assert said == [
        Message("tool", (Part("text", "18 degrees"),), call_id="t1"),
        Message("tool", (Part("image", media=Media(data="aGk=", type="image/png")),), call_id="t2", is_error=True),
        Message("tool", call_id="t3"),
        Message("user", (Part("text", "And now?"),)),
        Message("tool", call_id="t4"),
    ]


@pytest.mark.promise("P17", "P18")
def test_an_assistants_turn_has_its_thinking_and_its_calls_as_they_were_written():
    data = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":['
        b'{"type":"thinking","thinking":"Hm","signature":"c2ln+/=="},{"type":"redacted_thinking","data":"x"},'
        b'{"type":"text","text":"I look."},{"type":"server_tool_use","id":"s","name":"web_search","input":{}},'
        b'{"type":"tool_use","id":"t","name":"f","input":{"n": 1.50,  "\\u00e9":[ ]}}]}]}'
    )
    (message,) = ANTHROPIC_MESSAGES.parse(data).messages
    assert message.tool_calls == (ToolCall("t", "f", '{"n": 1.50,  "\\u00e9":[ ]}'),)
    assert message.parts[:3] == (
        Part("reasoning", "Hm", signature="c2ln+/=="),
        Part("redacted", signature="x"),
        Part("text", "I look."),
    )
    assert message.parts[3].kind == "server_tool_use"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_choice_of_a_tool_is_told_in_openais_words(choice: dict[str, Any], expected: Any):
    assert parse(tool_choice=choice).settings.tool_choice == expected
    assert parse(tool_choice=choice).settings.parallel_tool_calls is None


@pytest.mark.parametrize(
    ("thinking", "effort", "expected"),
    [
        (None, None, None),
        (None, "max", "max"),
        ({"type": "enabled", "budget_tokens": 1024}, None, "low"),
        ({"type": "enabled", "budget_tokens": 2048}, None, "low"),
        ({"type": "enabled", "budget_tokens": 2049}, None, "medium"),
        ({"type": "enabled", "budget_tokens": 8192}, None, "medium"),
        ({"type": "enabled", "budget_tokens": 8193}, None, "high"),
        ({"type": "enabled", "budget_tokens": 8193}, "low", "low"),
        ({"type": "adaptive"}, None, None),
        ({"type": "adaptive"}, "medium", "medium"),
        ({"type": "disabled"}, None, "none"),
        ({"type": "disabled"}, "high", "none"),
    ],
)
def test_thinking_is_an_effort(thinking: Any, effort: str | None, expected: str | None):
    request = parse(thinking=thinking, output_config={"effort": effort})
    assert request.settings.reasoning_effort == expected


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": ["Hi"]}, "messages[0]"),
    ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "developer", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "user", "content": None}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
    ({"messages": [user(5)]}, "messages[0].content[0]"),
    ({"messages": [user({"text": "x"})]}, "messages[0].content[0].type"),
    ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
    ({"messages": [user({"type": "text", "text": 5})]}, "messages[0].content[0].text"),
    ({"messages": [user({"type": "image"})]}, "messages[0].content[0].source"),
    ({"messages": [user({"type": "image", "source": {}})]}, "messages[0].content[0].source.type"),
    ({"messages": [user({"type": "image", "source": {"type": "base64"}})]}, "messages[0].content[0].source.data"),
    ({"messages": [user({"type": "image", "source": {"type": "url"}})]}, "messages[0].content[0].source.url"),
    ({"messages": [user({"type": "document", "source": {"type": "file"}})]}, "messages[0].content[0].source.file_id"),
    (
        {"messages": [user({"type": "document", "source": {"type": "content", "content": [{}]}})]},
        "messages[0].content[0].source.content[0].type",
    ),
    ({"messages": [user({"type": "tool_result"})]}, "messages[0].content[0].tool_use_id"),
    (
        {"messages": [user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]})]},
        "messages[0].content[0].content[0].text",
    ),
    (
        {"messages": [user({"type": "tool_result", "tool_use_id": "t", "is_error": "no"})]},
        "messages[0].content[0].is_error",
    ),
    ({"messages": [user({"type": "tool_use", "id": "t", "name": "f", "input": {}})]}, "messages[0].content[0].type"),
    ({"messages": [user({"type": "thinking", "thinking": ""})]}, "messages[0].content[0].type"),
    ({"messages": [assistant({"type": "tool_result", "tool_use_id": "t"})]}, "messages[0].content[0].type"),
    ({"messages": [assistant({"type": "tool_use", "id": "t", "name": "f"})]}, "messages[0].content[0].input"),
    (
        {"messages": [assistant({"type": "tool_use", "id": "t", "name": "f", "input": "x"})]},
        "messages[0].content[0].input",
    ),
    ({"messages": [assistant({"type": "redacted_thinking"})]}, "messages[0].content[0].data"),
    ({"system": 5}, "system"),
    ({"system": [5]}, "system[0]"),
    ({"system": [{"type": "text"}]}, "system[0].text"),
    ({"stream": "yes"}, "stream"),
    ({"temperature": 1.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": "END"}, "stop_sequences"),
    ({"stop_sequences": [5]}, "stop_sequences[0]"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"name": "f", "input_schema": []}]}, "tools[0].input_schema"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"thinking": True}, "thinking"),
    ({"thinking": {"budget_tokens": 5}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
    ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"metadata": {"user_id": 5}}, "metadata[...]"),
]


@pytest.mark.promise("P25", "P19")
@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[f"{param}-{i}" for i, (_, param) in enumerate(WRONG)])
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str):
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param.removesuffix(".type"))
    assert (caught.value.status, caught.value.may_retry) == (400, False)


@pytest.mark.promise("P25")
@pytest.mark.parametrize("name", ["model", "messages", "max_tokens"])
def test_a_missing_field_is_named(name: str):
    body = {key: value for key, value in BODY.items() if key != name}
    with pytest.raises(BadRequest) as caught:
        ANTHROPIC_MESSAGES.parse(msgspec.json.encode(body))
    assert caught.value.param == name


def test_a_request_to_count_tokens_needs_no_limit():
    request = ANTHROPIC_MESSAGES.parse_count(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    assert request.settings.max_tokens is None


@pytest.mark.promise("P34", "P36")
def test_a_key_in_the_body_is_refused_before_it_is_stored():
    with pytest.raises(BadRequest) as caught:
        parse(api_key="sk-ant-secret")
    assert caught.value.param == "api_key"
    assert "secret" not in caught.value.message


@pytest.mark.promise("P25")
@settings(max_examples=200)
@given(body=st.binary(max_size=40) | json_values.map(msgspec.json.encode))
def test_random_bodies_are_bad_requests(body: bytes):
    with pytest.raises(BadRequest):
        ANTHROPIC_MESSAGES.parse(body)


@pytest.mark.promise("P25")
@settings(max_examples=200)
@given(
    name=st.sampled_from(["system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences"]),
    value=json_values,
    kind=st.sampled_from(["text", "image", "document", "tool_result", "thinking", "tool_use", "x"]),
)
def test_random_values_are_requests_or_bad_requests(name: str, value: Any, kind: str):
    bodies: list[dict[str, Any]] = [
        {name: value},
        {"messages": [value]},
        {"messages": [user(value)]},
        {"messages": [user({"type": kind, "source": value, "content": value, "text": value, "tool_use_id": "t"})]},
        {"messages": [assistant({"type": kind, "input": value, "thinking": value, "id": "t", "name": "f"})]},
    ]
    for fields in bodies:
        try:
            request = parse(**fields)
        except BadRequest:
            continue
        ANTHROPIC_MESSAGES.unsaid(request)
        json.loads(write_request(request, "upstream", stream=True))


@pytest.mark.promise("P17")
@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, []),
        ({"cache_control": {"type": "ephemeral"}, "service_tier": "auto", "metadata": {"user_id": "u"}}, []),
        ({"container": "c", "mcp_servers": [], "speed": None, "inference_geo": "us"}, ["container", "inference_geo"]),
        ({"output_config": {"effort": "low", "new": 1}}, ["output_config.new"]),
        ({"thinking": {"type": "between_tools"}}, ["thinking.type"]),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, []),
        ({"tools": [TOOL, {**TOOL, "input_examples": [{}], "cache_control": {}}]}, ["tools[1].input_examples"]),
        ({"tools": [{"type": "web_search_20250305", "name": "w", "max_uses": 3}]}, []),
    ],
)
def test_what_no_other_shape_can_be_told_is_named(fields: dict[str, Any], names: list[str]):
    assert ANTHROPIC_MESSAGES.unsaid(parse(**fields)) == names
