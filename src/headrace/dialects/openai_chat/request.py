"""Chat completion requests: read from a caller, written for an upstream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from headrace.bodies import LongBody
from headrace.dialects import long
from headrace.dialects.base import check_utf8, read_json, refuse_key, unsupported
from headrace.dialects.openai_chat.decoder import NAME
from headrace.dialects.openai_chat.message import MessageFields, read_message, said_messages
from headrace.dialects.openai_chat.view import INCLUDE_USAGE
from headrace.errors import BadRequest
from headrace.messages import LongMessages, Message, Request, Settings, Tool

_Temperature = Annotated[float, Meta(ge=0, le=2)]
_Probability = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Count = Annotated[int, Meta(ge=1)]


class _ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _ToolFunction | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    """The fields that Headrace reads; all others travel in the body."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[MessageFields], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    temperature: _Temperature | None = None
    top_p: _Probability | None = None
    top_k: int | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: _Count | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    metadata: dict[str, str] | None = None
    api_key: Raw | UnsetType = UNSET


class _Rest(_Body):
    """Without its messages, where they are read on their own."""

    messages: list[MessageFields]  # pyright: ignore[reportIncompatibleVariableOverride]


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_fields = cast("Callable[[bytes], dict[str, Any]]", msgspec.json.Decoder(dict[str, Raw]).decode)
# Values stay as they came: a number beyond all limits is the upstream's to judge.
_decode_options = msgspec.json.Decoder(dict[str, Raw] | None).decode


def parse(body: bytes) -> Request:
    """Read a request body: see `Dialect.parse`."""
    check_utf8(body)
    read = read_json(_decode_body, body)
    return _request(read, tuple(read_message(index, message) for index, message in enumerate(read.messages)), body)


def parse_long(body: LongBody) -> long.Steps[Request]:
    """Read a long one in steps: see `Dialect.parse_long`."""
    shape = msgspec.structs.replace(_SHAPE, made=partial(_turn, body=body))
    return long.read(body, shape, lambda read, messages: _request(read, messages, body))


def _request(read: _Body, messages: Collection[Message], body: bytes | LongBody) -> Request:
    refuse_key(read.api_key)
    options = read.stream_options
    return Request(
        dialect=NAME,
        model=read.model,
        messages=messages,
        tools=tuple(_tool(index, tool) for index, tool in enumerate(read.tools or ())),
        settings=_settings(read),
        stream=bool(read.stream),
        params=INCLUDE_USAGE if options and options.include_usage else "",
        metadata=read.metadata or {},
        body=body,
    )


def _settings(read: _Body) -> Settings:
    stop = (read.stop,) if isinstance(read.stop, str) else tuple(read.stop or ())
    return Settings(
        temperature=read.temperature,
        top_p=read.top_p,
        # Servers that know it take 0 and -1 for all words, which is the default.
        top_k=read.top_k if read.top_k and read.top_k > 0 else None,
        max_tokens=read.max_completion_tokens or read.max_tokens,
        stop=stop,
        seed=read.seed,
        n=read.n,
        presence_penalty=read.presence_penalty,
        frequency_penalty=read.frequency_penalty,
        tool_choice=read.tool_choice,
        parallel_tool_calls=read.parallel_tool_calls,
        response_format=read.response_format,
        reasoning_effort=read.reasoning_effort,
    )


def _tool(index: int, tool: _Tool) -> Tool:
    function = tool.function
    if function is None:
        if tool.type == "function":
            raise BadRequest(f"tools[{index}].function is missing.", param=f"tools[{index}].function")
        return Tool(tool.type, kind=tool.type)
    return Tool(function.name, function.description, function.parameters or {}, function.strict)


def _turn(index: int, message: MessageFields, body: LongBody | None = None) -> tuple[Message]:
    return (read_message(index, message, body),)


_SHAPE = long.Shape(
    body=_decode_body,
    rest=msgspec.json.Decoder(_Rest).decode,
    fields=frozenset(_Body.__struct_fields__),
    message=msgspec.json.Decoder(MessageFields).decode,
    run=msgspec.json.Decoder(list[MessageFields]).decode,
    made=_turn,
)


# What a `Request` says, and what concerns nobody but the caller, this server, and a cache of OpenAI's.
_SAID = frozenset(_Body.__struct_fields__) | {"user", "store", "service_tier", "safety_identifier", "prompt_cache_key"}

# How vLLM and SGLang are told to go on with the last message. Servers that do so anyhow ignore it; those that refuse it
# are those that would begin another message.
_GOING_ON = {"continue_final_message": True, "add_generation_prompt": False}

_NOTHING = (b"null", b"false", b"[]", b"{}")


def unsaid(request: Request) -> list[str]:
    """Fields with a value that the request's own fields do not say: see `Dialect.unsaid`."""
    body = request.body
    fields = _decode_fields(body.head if isinstance(body, LongBody) else body)
    names = [name for name, value in fields.items() if name not in _SAID and bytes(value) not in _NOTHING]
    if not isinstance(request.messages, LongMessages):
        messages = enumerate(request.messages)
        names += [f"messages[{index}].role" for index, message in messages if message.role == "function"]
    return names


def write(request: Request, model: str, *, stream: bool) -> bytes:
    """The body for an upstream of this shape, always asking a stream for its usage (P12, P27).

    A request of the same shape is sent on as it came, with only `model` and the streaming fields replaced.
    """
    body = request.body
    if isinstance(body, LongBody):
        return b"".join(write_long(request, body, model, stream=stream))
    fields = _decode_fields(body) if request.dialect == NAME else _fields(request)
    return msgspec.json.encode(_addressed(fields, request, model, stream=stream))


def _addressed(fields: dict[str, Any], request: Request, model: str, *, stream: bool) -> dict[str, Any]:
    """The fields for this model, with or without a stream."""
    options: dict[str, Any] = _decode_options(fields.pop("stream_options", b"null")) or {}
    fields["model"] = model
    fields["stream"] = stream
    if stream:
        fields["stream_options"] = options | {"include_usage": True}
    if request.continues:
        fields |= _GOING_ON
    return fields


def write_long(request: Request, body: LongBody, model: str, *, stream: bool) -> Iterator[bytes]:
    """The same of a long request, in pieces that are made one at a time."""
    if request.dialect == NAME:
        fields = _decode_fields(body.head)
        fields |= {name: cut.whole() for name, cut in body.cuts.items() if name in fields}
        if "stream_options" in body.cuts:
            fields["stream_options"] = b"".join(body.cuts["stream_options"].whole())
    else:
        messages = long.lists_of([message] for message in said_messages(request))
        fields = _fields(msgspec.structs.replace(request, messages=())) | {"messages": messages}
    return long.written(body, _addressed(fields, request, model, stream=stream))


def _fields(request: Request) -> dict[str, Any]:
    """A request of another shape in this one's words."""
    settings: dict[str, Any] = msgspec.to_builtins(request.settings)
    fields: dict[str, Any] = {"messages": list(said_messages(request)), **settings}
    if request.tools:
        fields["tools"] = [_tool_fields(index, tool) for index, tool in enumerate(request.tools)]
    return fields


def _tool_fields(index: int, tool: Tool) -> dict[str, Any]:
    if tool.kind != "function":
        raise unsupported(f"tools[{index}]", f"A chat completion has no word for a tool of type {tool.kind}.")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
