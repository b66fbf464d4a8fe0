"""Responses requests: read strictly, sent on as they came, written from other shapes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import OPENAI_RESPONSES
from headrace.dialects.openai_responses import write_request
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Request, Settings, Tool, ToolCall
from tests.dialects.openai_responses.wire import FULL, IMAGE
from tests.strategies import json_values, texts


def parse(**fields: Any) -> Request:
    return OPENAI_RESPONSES.parse(msgspec.json.encode({"model": "demo", "input": "Hi", **fields}))


def test_a_string_is_what_the_user_says():
    assert parse().messages == (Message("user", (Part("text", "Hi"),)),)


def test_every_field_is_read():
    request = OPENAI_RESPONSES.parse(msgspec.json.encode(FULL))
    assert (request.model, request.stream, request.background, request.stored) == ("demo", True, True, True)
    assert (request.previous, request.metadata, request.params) == ("resp_before", {"k": "v"}, "")
    assert request.tools == (
        Tool("f", "d", {"type": "object"}, True),
        Tool("web_search", kind="web_search"),
    )
    assert request.settings == Settings(
        temperature=0,
        top_p=1,
        max_tokens=5,
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "p", "schema": {"type": "object"}, "strict": True},
        },
        reasoning_effort="low",
    )


def test_items_become_turns_and_what_an_assistant_did_at_once_is_one():
    request = OPENAI_RESPONSES.parse(msgspec.json.encode(FULL))
    system, developer, user, assistant, first, second, reference = request.messages
    assert (system.role, system.text) == ("system", "Be brief.")
    assert (developer.role, developer.text) == ("developer", "House rules.")
    assert user.parts[:-1] == (
        Part("text", "What?"),
        Part("image", media=Media(url=IMAGE, detail="low")),
        Part("image", media=Media(file_id="file-1", detail="auto")),
        Part("file", media=Media(url="data:application/pdf;base64,BBBB", name="a.pdf")),
        Part("file", media=Media(data="CCCC", name="b.pdf")),
        Part("file", media=Media(url="https://example.com/c.pdf")),
        Part("audio", media=Media(data="DDDD", type="wav")),
    )
    assert (user.parts[-1].kind, json.loads(bytes(user.parts[-1].raw or b""))) == (
        "input_new",
        {"type": "input_new", "x": 1},
    )
    assert assistant.parts[:-1] == (
        Part("reasoning", "Hm"),
        Part("redacted", signature="sig+/="),
        Part("reasoning", "long\n\ner", signature="sig2"),
        Part("text", "Let me see."),
        Part("refusal", "No."),
    )
    assert assistant.parts[-1].kind == "web_search_call"
    assert assistant.tool_calls == (ToolCall("call_a", "f", '{"a": 1}'), ToolCall("call_b", "g", ""))
    assert [(tool.role, tool.call_id, tool.text) for tool in (first, second)] == [
        ("tool", "call_a", "42"),
        ("tool", "call_b", "43"),
    ]
    assert [part.kind for part in reference.parts] == ["item_reference"]


def test_the_answer_repeats_the_request_as_it_came():
    echo = json.loads(bytes(OPENAI_RESPONSES.parse(msgspec.json.encode(FULL)).echo or b""))
    assert echo == {
        name: FULL[name]
        for name in FULL
        if name not in ("model", "input", "stream", "stream_options", "include", "x_vendor")
    }
    assert parse().echo is None
    assert parse(tools=None).echo is None


def test_what_is_repeated_has_an_end_and_tools_go_first():
    tools = [{"type": "function", "name": "f", "description": "d" * 60_000}]
    echo = bytes(parse(instructions="i" * 10_000, tools=tools, temperature=1).echo or b"")
    assert set(json.loads(echo)) == {"instructions", "temperature"}
    assert set(json.loads(bytes(parse(instructions="i" * 66_000, tools=[], user="u").echo or b""))) == {"tools", "user"}
    most = bytes(parse(instructions="i" * 32_000, tools=tools[:0], metadata={"m": "x" * 32_000}).echo or b"")
    assert len(most) <= 64 * 1024


@pytest.mark.parametrize("name", [name for name in FULL if name not in ("model", "input", "x_vendor")])
def test_null_is_the_same_as_absent(name: str):
    request = parse(**{name: None})
    assert msgspec.structs.replace(request, body=b"") == msgspec.structs.replace(parse(), body=b"")


ITEM = {"role": "user", "content": "Hi"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": {}}, "input"),
    ({"input": ["Hi"]}, "input[0]"),
    ({"input": [{"content": "Hi"}]}, "input[0].role"),
    ({"input": [{"role": "tool", "content": "Hi"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [ITEM, {"role": "user", "content": 5}]}, "input[1].content"),
    ({"input": [{"type": 5}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": [5]}]}, "input[0].content[0]"),
    ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
    ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].input_audio"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
    ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
    ({"instructions": 5}, "instructions"),
    ({"instructions": "Hm", "input": []}, "input"),
    ({"stream": "yes"}, "stream"),
    ({"store": 1}, "store"),
    ({"background": "yes"}, "background"),
    ({"background": True, "store": False}, "background"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"tools": {}}, "tools"),
    ({"tools": [{}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"text": "json"}, "text"),
    ({"text": {"format": "json"}}, "text.format"),
    ({"reasoning": {"effort": 5}}, "reasoning.effort"),
    ({"include": "all"}, "include"),
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"metadata": {"k": 5}}, "metadata[...]"),
    ({"api_key": "sk-mine"}, "api_key"),
]


@pytest.mark.promise("P25", "P19")
@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[f"{param}-{i}" for i, (_, param) in enumerate(WRONG)])
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str):
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param
    assert (caught.value.status, caught.value.may_retry) == (400, False)
    assert "sk-mine" not in caught.value.message


def test_input_may_be_missing_where_something_else_says_what_is_asked():
    for fields in ({"previous_response_id": "resp_1"}, {"prompt": {"id": "pmpt_1"}}):
        body = msgspec.json.encode({"model": "demo", **fields})
        assert OPENAI_RESPONSES.parse(body).messages == ()


@pytest.mark.promise("P25")
@settings(max_examples=300)
@given(name=st.sampled_from(sorted(FULL)), value=json_values, part=json_values)
def test_random_values_are_requests_or_bad_requests(name: str, value: Any, part: Any):
    for body in (
        FULL | {name: value},
        FULL | {"input": [{"role": "user", "content": [part]}]},
        FULL | {"input": [part]},
        FULL | {"tools": [part]},
    ):
        try:
            request = OPENAI_RESPONSES.parse(msgspec.json.encode(body))
        except BadRequest:
            continue
        json.loads(write_request(request, "upstream", stream=True))
        OPENAI_RESPONSES.unsaid(request)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, []),
        ({name: value for name, value in FULL.items() if name not in ("x_vendor", "input", "tools")}, []),
        ({"x_vendor": 1}, ["x_vendor"]),
        ({"x_vendor": None, "max_tool_calls": None}, []),
        ({"max_tool_calls": 3}, ["max_tool_calls"]),
        ({"prompt": {"id": "p"}}, ["prompt"]),
        ({"truncation": "auto"}, ["truncation"]),
        ({"top_logprobs": 0}, []),
        ({"top_logprobs": 5}, ["top_logprobs"]),
        ({"text": {"verbosity": "low"}}, ["text.verbosity"]),
        ({"text": {"format": {"type": "text"}, "verbosity": None}}, []),
        ({"reasoning": {"effort": "low", "summary": "auto", "new": 1}}, ["reasoning.new"]),
        ({"include": ["reasoning.encrypted_content"]}, []),
        ({"include": ["message.output_text.logprobs", "x"]}, ["include"]),
        ({"tool_choice": {"type": "web_search"}}, ["tool_choice"]),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, ["tool_choice"]),
        ({"tool_choice": {"type": "function", "name": "f"}}, []),
        ({"prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "flex"}, []),
    ],
)
def test_other_shapes_cannot_be_told_of(fields: dict[str, Any], names: list[str]):
    assert OPENAI_RESPONSES.unsaid(parse(**fields)) == names


@pytest.mark.promise("P17", "P12")
def test_a_request_of_the_same_shape_is_sent_on_as_it_came_but_never_into_the_background():
    sent = json.loads(write_request(OPENAI_RESPONSES.parse(msgspec.json.encode(FULL)), "upstream/model", stream=True))
    kept = {name: value for name, value in FULL.items() if name != "background"}
    assert sent == kept | {"model": "upstream/model"}
    sent = json.loads(write_request(OPENAI_RESPONSES.parse(msgspec.json.encode(FULL)), "up", stream=False))
    del kept["stream_options"]
    assert sent == kept | {"model": "up", "stream": False}


@pytest.mark.promise("P17")
def test_what_headrace_does_not_read_is_sent_on_byte_for_byte():
    odd = b'{"big":123456789012345678901234567890,"small":1.50e-7,"text":"\\u00e9\\/"}'
    body = b'{"model":"demo","input":[{"role":"user","content":"x","vendor":%b}],"x":%b}' % (odd, odd)
    assert write_request(OPENAI_RESPONSES.parse(body), "up", stream=True).count(odd) == 2


@pytest.mark.promise("P17")
@settings(max_examples=50)
@given(st.dictionaries(texts.map(lambda text: "x_" + text), json_values, max_size=3))
def test_unknown_fields_survive(unknown: dict[str, Any]):
    sent = json.loads(write_request(parse(**unknown), "up", stream=True))
    assert {name: sent[name] for name in unknown} == json.loads(json.dumps(unknown))
