"""Chat completion requests: read strictly, sent on as they came."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import NATIVE, OPENAI_CHAT
from headrace.dialects.openai_chat import write_request
from headrace.errors import BadRequest
from headrace.messages import Media, Request, Settings, Tool, ToolCall
from tests.strategies import json_values, texts

USER = {"role": "user", "content": "Hi"}
FULL: dict[str, Any] = {
    "model": "demo",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "42"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "temperature": 0,
    "top_p": 1,
    "top_k": 40,
    "max_completion_tokens": 5,
    "stop": "END",
    "seed": 1,
    "n": 2,
    "presence_penalty": -2,
    "frequency_penalty": 2,
    "metadata": {"k": "v"},
    "logit_bias": {"50256": -100},
    "x_vendor": {"deep": [1, 2.50, None]},
}


def parse(**fields: Any) -> Request:
    return OPENAI_CHAT.parse(msgspec.json.encode({"model": "demo", "messages": [USER], **fields}))


def test_every_field_is_read():
    request = OPENAI_CHAT.parse(msgspec.json.encode(FULL))
    assert (request.model, request.stream, request.params, request.metadata) == ("demo", True, "u", {"k": "v"})
    system, user, assistant, tool = request.messages
    assert system.text == "Be brief."
    assert (user.name, [part.kind for part in user.parts], user.text) == ("ann", ["text", "image"], "What?")
    assert user.parts[1].media == Media(url="data:x")
    assert assistant.tool_calls == (ToolCall("call_a", "f", '{"a": 1}'),)
    assert (tool.call_id, tool.text) == ("call_a", "42")
    assert request.tools == (Tool("f", "d", {"type": "object"}, True),)
    assert request.settings == Settings(
        temperature=0,
        top_p=1,
        top_k=40,
        max_tokens=5,
        stop=("END",),
        seed=1,
        n=2,
        presence_penalty=-2,
        frequency_penalty=2,
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
    )


def test_a_tool_that_is_no_function_is_known_by_its_type_and_travels_in_the_body():
    request = parse(tools=[{"type": "web_search", "x": 1}])
    assert request.tools == (Tool("web_search", kind="web_search"),)
    assert json.loads(write_request(request, "up", stream=True))["tools"] == [{"type": "web_search", "x": 1}]


@pytest.mark.parametrize("options", [None, {}, {"include_usage": None}, {"include_usage": False}])
def test_usage_is_shown_only_if_asked_for(options: Any):
    assert parse(stream_options=options).params == ""


def test_null_is_the_same_as_absent():
    optional = set(FULL) - {"model", "messages", "x_vendor", "logit_bias"}
    request = parse(**dict.fromkeys(optional))
    assert msgspec.structs.replace(request, body=b"") == msgspec.structs.replace(parse(), body=b"")


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "image_url"}, ".image_url"),
    ({"type": "image_url", "image_url": 5}, ".image_url"),
    ({"type": "image_url", "image_url": ""}, ".image_url"),
    ({"type": "image_url", "image_url": {}}, ".image_url.url"),
    ({"type": "image_url", "image_url": {"url": 5}}, ".image_url.url"),
    ({"type": "image_url", "image_url": {"url": "x", "detail": 5}}, ".image_url.detail"),
    ({"type": "input_audio", "input_audio": {"data": "AA"}}, ".input_audio.format"),
    ({"type": "input_audio", "input_audio": {"format": "wav"}}, ".input_audio.data"),
    ({"type": "file", "file": {"filename": "x"}}, ".file"),
    ({"type": "file", "file": {"file_data": 5}}, ".file.file_data"),
    ({"type": "refusal"}, ".refusal"),
    ({"type": "vendors", "text": 5}, ".text"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": ["Hi"]}, "messages[0]"),
    ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
    *(
        ({"messages": [USER, {"role": "user", "content": [part]}]}, f"messages[1].content[0]{path}")
        for part, path in PARTS
    ),
    ({"messages": [{**USER, "name": 5}]}, "messages[0].name"),
    ({"messages": [{"role": "assistant", "refusal": 5}]}, "messages[0].refusal"),
    ({"messages": [{**USER, "tool_call_id": 5}]}, "messages[0].tool_call_id"),
    ({"messages": [{**USER, "tool_calls": {}}]}, "messages[0].tool_calls"),
    ({"messages": [{**USER, "tool_calls": [{"function": {}}]}]}, "messages[0].tool_calls[0].function.name"),
    (
        {"messages": [{**USER, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": True}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"tools": {}}, "tools"),
    ({"tools": [{}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]}, "tools[0].function.strict"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"response_format": "json"}, "response_format"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": "x"}, "top_k"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_completion_tokens": "5"}, "max_completion_tokens"),
    ({"stop": 5}, "stop"),
    ({"stop": [5]}, "stop[0]"),
    ({"seed": "x"}, "seed"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"k": 5}}, "metadata[...]"),
]


@pytest.mark.promise("P25", "P19")
@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[f"{param}-{i}" for i, (_, param) in enumerate(WRONG)])
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str):
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)
    assert (caught.value.status, caught.value.may_retry) == (400, False)


@pytest.mark.promise("P25")
@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_field_is_named(name: str):
    body = {"model": "demo", "messages": [USER]}
    del body[name]
    with pytest.raises(BadRequest) as caught:
        OPENAI_CHAT.parse(msgspec.json.encode(body))
    assert caught.value.param == name


MALFORMED = [
    b"",
    b"{",
    b"nul",
    b'{"model":"demo","messages":[{"role":"user","content":"x"}]} x',
    b"\xff",
    b'{"model":"demo","messages":[{"role":"user","content":"\xff"}]}',
    b'{"model":"demo","messages":[{"role":"user","content":[{"type":"x","y":"\xff"}]}]}',
    b'{"model":"demo","messages":[{"role":"user","content":"x"}],"unknown":"\xff"}',
    b"[" * 100_000,
    b'{"model":"demo","unknown":' + b"[" * 100_000,
]


TYPE_FIRST = ("Expected `object`", "unknown: ")


@pytest.mark.promise("P25")
@pytest.mark.parametrize("dialect", [OPENAI_CHAT, NATIVE], ids=["chat", "native"])
@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json_is_a_bad_request(dialect: Any, body: bytes):
    with pytest.raises(BadRequest) as caught:
        dialect.parse(body)
    # What is wrong first may be the type, as with an array that never ends.
    assert caught.value.error_code == (
        "invalid_request" if caught.value.message.startswith(TYPE_FIRST) else "invalid_json"
    )
    assert caught.value.status == 400


@pytest.mark.promise("P25")
@pytest.mark.parametrize("dialect", [OPENAI_CHAT, NATIVE], ids=["chat", "native"])
@settings(max_examples=200)
@given(body=st.binary(max_size=40) | json_values.map(msgspec.json.encode))
def test_random_bodies_are_bad_requests(dialect: Any, body: bytes):
    with pytest.raises(BadRequest):
        dialect.parse(body)


@pytest.mark.promise("P25")
@settings(max_examples=300)
@given(name=st.sampled_from(sorted(FULL)), value=json_values, part=json_values)
def test_random_values_are_requests_or_bad_requests(name: str, value: Any, part: Any):
    bodies = [
        FULL | {name: value},
        FULL | {"messages": [{"role": "user", "content": [part]}]},
        FULL | {"messages": [part]},
        FULL | {"tools": [part]},
    ]
    for body in bodies:
        try:
            request = OPENAI_CHAT.parse(msgspec.json.encode(body))
        except BadRequest:
            continue
        json.loads(write_request(request, "upstream", stream=True))


@pytest.mark.promise("P17", "P12", "P27")
def test_a_request_of_the_same_shape_is_sent_on_as_it_came():
    sent = json.loads(write_request(OPENAI_CHAT.parse(msgspec.json.encode(FULL)), "upstream/model", stream=True))
    assert sent == FULL | {"model": "upstream/model"}
    unasked = {name: value for name, value in FULL.items() if name not in ("stream", "stream_options")}
    sent = json.loads(write_request(OPENAI_CHAT.parse(msgspec.json.encode(unasked)), "up", stream=True))
    assert sent == unasked | {"model": "up", "stream": True, "stream_options": {"include_usage": True}}
    sent = json.loads(write_request(OPENAI_CHAT.parse(msgspec.json.encode(FULL)), "up", stream=False))
    assert sent == unasked | {"model": "up", "stream": False}


@pytest.mark.promise("P17")
def test_what_headrace_does_not_read_is_sent_on_byte_for_byte():
    odd = b'{"big":123456789012345678901234567890,"small":1.50e-7,"text":"\\u00e9\\/"}'
    body = b'{"model":"demo","messages":[{"role":"user","content":"x","vendor":%b}],"x":%b}' % (odd, odd)
    assert write_request(OPENAI_CHAT.parse(body), "up", stream=True).count(odd) == 2


@pytest.mark.promise("P17")
@settings(max_examples=100)
@given(st.dictionaries(texts.map(lambda text: "x_" + text), json_values, max_size=3))
def test_unknown_fields_survive(unknown: dict[str, Any]):
    request = parse(**unknown)
    sent = json.loads(write_request(request, "up", stream=True))
    assert {name: sent[name] for name in unknown} == json.loads(json.dumps(unknown))


roles = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
parts = st.builds(lambda text: {"type": "text", "text": text}, texts) | st.sampled_from(
    [
        {"type": "image", "url": "data:image/png;base64,AAAA", "detail": "low"},
        {"type": "audio", "data": "AAAA", "format": "wav"},
        {"type": "file", "url": "data:application/pdf;base64,AAAA", "name": "a.pdf"},
        {"type": "refusal", "text": "No."},
        {"type": "vendors", "x": 1},
    ]
)
calls = st.builds(lambda number, text: {"id": f"c{number}", "name": "f", "arguments": text}, st.integers(0, 9), texts)
native_messages = st.fixed_dictionaries(
    {"role": roles, "content": texts | st.lists(parts, max_size=3)},
    optional={"name": texts, "call_id": texts, "tool_calls": st.lists(calls, max_size=2)},
)
native_bodies = st.fixed_dictionaries(
    {"model": st.just("demo"), "messages": st.lists(native_messages, min_size=1, max_size=3)},
    optional={
        "settings": st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 2),
                "top_p": st.floats(0, 1),
                "top_k": st.integers(1, 9),
                "max_tokens": st.integers(1, 9),
                "stop": st.lists(texts, max_size=2),
                "seed": st.integers(-5, 5),
                "n": st.integers(1, 3),
                "presence_penalty": st.floats(-2, 2),
                "frequency_penalty": st.floats(-2, 2),
                "tool_choice": st.sampled_from(["auto", {"type": "function"}]),
                "parallel_tool_calls": st.booleans(),
                "response_format": st.just({"type": "json_object"}),
            },
        ),
        "tools": st.lists(
            st.fixed_dictionaries(
                {"name": st.just("f")},
                optional={"description": texts, "parameters": st.just({"type": "object"}), "strict": st.booleans()},
            ),
            max_size=2,
        ),
        "metadata": st.just({"k": "v"}),
        "stream": st.booleans(),
    },
)


@settings(max_examples=200)
@given(native_bodies)
def test_a_native_request_asks_the_same_of_a_chat_upstream(body: dict[str, Any]):
    native = NATIVE.parse(msgspec.json.encode(body))
    chat = OPENAI_CHAT.parse(write_request(native, "up", stream=True))
    if any(message.role == "tool" and any(part.media for part in message.parts) for message in native.messages):
        assert len(chat.messages) > len(native.messages)  # a tool's message takes no media: the user's next one does
    else:
        assert chat.messages == native.messages
    assert (chat.tools, chat.settings) == (native.tools, native.settings)
    assert (chat.model, chat.stream, chat.params, chat.metadata) == ("up", True, "u", {})


@pytest.mark.promise("P34", "P36")
def test_a_key_in_the_body_is_refused_before_it_is_stored():
    with pytest.raises(BadRequest) as refused:
        OPENAI_CHAT.parse(b'{"model":"m","messages":[{"role":"user","content":"x"}],"api_key":"sk-mine"}')
    assert refused.value.param == "api_key"
    assert "sk-mine" not in refused.value.message


@pytest.mark.promise("P17")
def test_stream_options_go_on_as_they_came():
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream_options":{"x":1e999}}'
    written = write_request(OPENAI_CHAT.parse(body), "m", stream=True)
    assert b'"stream_options":{"x":1e999,"include_usage":true}' in written
