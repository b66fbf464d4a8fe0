"""Requests of other shapes in the words of the Responses API."""

import json
from typing import Any

import pytest

from headrace.dialects import OPENAI_RESPONSES
from headrace.dialects.openai_responses import write_request
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Request, Settings, Tool, ToolCall

USER = Message("user", (Part("text", "Hi"),))


def asked(*messages: Message, settings: Settings | None = None, tools: tuple[Tool, ...] = ()) -> Request:
    return Request("native", "demo", messages or (USER,), tools, settings or Settings())


def written(request: Request) -> dict[str, Any]:
    return json.loads(write_request(request, "up", stream=True))


def test_nobody_comes_back_for_an_id_of_the_model_server_and_reasoning_comes_along():
    assert written(asked()) == {
        "model": "up",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
    }


def test_every_turn_is_said_by_items():
    png = Media(data="AAAA", type="image/png")
    request = asked(
        Message("system", (Part("text", "Be brief."),)),
        Message(
            "user",
            (
                Part("text", "What?"),
                Part("image", media=png),
                Part("image", media=Media(file_id="file-1", detail="low")),
                Part("file", media=Media(data="BBBB", type="application/pdf", name="a.pdf")),
                Part("file", media=Media(url="https://example.com/c.pdf")),
                Part("file", media=Media(file_id="file-2")),
            ),
        ),
        Message(
            "assistant",
            (
                Part("reasoning", "not signed"),
                Part("reasoning", "signed", signature="sig+/="),
                Part("redacted", signature="sig2"),
                Part("text", "Let me see."),
            ),
            tool_calls=(ToolCall("call_a", "f", '{"a": 1}'),),
        ),
        Message("tool", (Part("text", "42"),), call_id="call_a"),
        Message("tool", (Part("text", "43"), Part("image", media=png)), call_id="call_b", is_error=True),
        Message("assistant", (Part("text", "a"), Part("refusal", "b"))),
    )
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    assert written(request)["input"] == [
        {"type": "message", "role": "system", "content": "Be brief."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What?"},
                image,
                {"type": "input_image", "file_id": "file-1", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"},
                {"type": "input_file", "file_url": "https://example.com/c.pdf"},
                {"type": "input_file", "file_id": "file-2"},
            ],
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "signed"}],
            "encrypted_content": "sig+/=",
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "sig2"},
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_a", "output": "42"},
        {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "43"}, image]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
    ]


def test_settings_have_their_own_names_and_forms():
    settings = Settings(
        temperature=0.5,
        top_p=1,
        max_tokens=9,
        n=1,
        presence_penalty=0,
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": {}, "strict": True}},
        reasoning_effort="low",
    )
    sent = written(asked(settings=settings, tools=(Tool("f", "d", {"type": "object"}), Tool("g", strict=True))))
    assert {name: sent[name] for name in sent if name not in ("model", "input", "stream", "store", "include")} == {
        "temperature": 0.5,
        "top_p": 1.0,
        "max_output_tokens": 9,
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "p", "schema": {}, "strict": True}},
        "reasoning": {"effort": "low"},
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "description": "d", "strict": False},
            {"type": "function", "name": "g", "parameters": {}, "strict": True},
        ],
    }


def test_what_was_written_is_read_as_the_same_request():
    request = asked(
        Message("system", (Part("text", "s"),)),
        USER,
        Message("assistant", (Part("text", "a"),), tool_calls=(ToolCall("c", "f", "{}"),)),
        Message("tool", (Part("text", "1"),), call_id="c"),
        settings=Settings(temperature=1, tool_choice="required", response_format={"type": "json_object"}),
        tools=(Tool("f", "d", {"type": "object"}, False),),
    )
    again = OPENAI_RESPONSES.parse(write_request(request, "up", stream=True))
    assert (again.messages, again.settings, again.tools) == (request.messages, request.settings, request.tools)


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (asked(settings=Settings(n=2)), "n"),
        (asked(settings=Settings(seed=0)), "seed"),
        (asked(settings=Settings(stop=("x",))), "stop"),
        (asked(settings=Settings(top_k=1)), "top_k"),
        (asked(settings=Settings(presence_penalty=1)), "presence_penalty"),
        (asked(settings=Settings(frequency_penalty=-1)), "frequency_penalty"),
        (asked(settings=Settings(tool_choice={"type": "any"})), "tool_choice"),
        (asked(tools=(Tool("bash", kind="bash_20250124"),)), "tools"),
        (asked(Message("user", (Part("audio", media=Media(data="x", type="wav")),))), "messages"),
        (asked(Message("user", (Part("text", "x"),), name="ann")), "messages"),
        (asked(Message("tool", (Part("text", "x"),))), "messages"),
        (asked(Message("user", (Part("search_result"),))), "messages"),
    ],
)
def test_what_the_api_cannot_be_told_is_refused(request_: Request, param: str):
    with pytest.raises(BadRequest) as caught:
        write_request(request_, "up", stream=True)
    assert (caught.value.param, caught.value.error_code) == (param, "unsupported_parameter")
