"""Messages requests, read from a caller."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from headrace.bodies import LARGEST_STEP, LongBody
from headrace.dialects import long
from headrace.dialects.anthropic_messages.blocks import Content, messages_of, parts_of
from headrace.dialects.anthropic_messages.wire import NAME
from headrace.dialects.base import check_utf8, read_json, refuse_key
from headrace.errors import BadRequest
from headrace.messages import LongMessages, Message, Request, Settings, Tool

_Share = Annotated[float, Meta(ge=0, le=1)]
# Budgets of thinking up to which an effort is called so, in tokens.
_LOW_BUDGET, _MEDIUM_BUDGET = 2048, 8192


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: Content


class _ToolFields(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1)]
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Counted(msgspec.Struct, kw_only=True):
    """The fields that Headrace reads, and of which a request to count tokens may have fewer; all travel in the body."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    system: Content | None = None
    stream: bool | None = None
    tools: list[_ToolFields] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    temperature: _Share | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, str | None] | None = None
    api_key: Raw | UnsetType = UNSET


class _Body(_Counted, kw_only=True):
    """A request for an answer."""

    max_tokens: Annotated[int, Meta(ge=1)]  # pyright: ignore[reportIncompatibleVariableOverride,reportGeneralTypeIssues]


class _CountedRest(_Counted, kw_only=True):
    """Without its messages, where they are read on their own."""

    messages: list[_Message]  # pyright: ignore[reportIncompatibleVariableOverride]


class _Rest(_Body, kw_only=True):
    """Likewise."""

    messages: list[_Message]  # pyright: ignore[reportIncompatibleVariableOverride]


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode
_decode_fields = cast("Callable[[bytes | Raw], dict[str, Raw]]", msgspec.json.Decoder(dict[str, Raw]).decode)
_decode_objects = msgspec.json.Decoder(list[dict[str, Raw]] | None).decode


def parse(body: bytes, *, counting: bool = False) -> Request:
    """Read a request body, or with `counting` one for `count_tokens`, which needs no `max_tokens`.

    See `Dialect.parse`.
    """
    check_utf8(body)
    read = read_json(_decode_counted if counting else _decode_body, body)
    batches = (_messages(index, message, None) for index, message in enumerate(read.messages))
    return _request(read, (*_system(read), *itertools.chain.from_iterable(batches)), body)


def parse_long(body: LongBody, *, counting: bool = False) -> long.Steps[Request]:
    """Read a long one in steps: see `Dialect.parse_long`."""
    shape = long.Shape(
        body=_decode_counted if counting else _decode_body,
        rest=msgspec.json.Decoder(_CountedRest if counting else _Rest).decode,
        fields=frozenset(_Body.__struct_fields__),
        message=msgspec.json.Decoder(_Message).decode,
        run=msgspec.json.Decoder(list[_Message]).decode,
        made=lambda index, message: _messages(index, message, body),
    )
    system: tuple[Message, ...] = ()

    def request(read: _Counted, messages: Collection[Message]) -> Request:
        nonlocal system
        system = _system(read)
        return _request(read, _after(system, messages), body)

    made = yield from long.read(body, shape, request)
    yield system
    return made


def _after(system: tuple[Message, ...], messages: Collection[Message]) -> Collection[Message]:
    """The messages with the system's before them."""
    if not isinstance(messages, LongMessages):
        return (*system, *messages)
    return LongMessages(len(system) + len(messages), lambda: itertools.chain([system], messages.batches()))


def _messages(index: int, message: _Message, body: LongBody | None) -> Sequence[Message]:
    return messages_of(f"messages[{index}]", message.role, message.content, body)


def _system(read: _Counted) -> tuple[Message, ...]:
    parts = parts_of("system", read.system or "")
    return (Message("system", parts),) if parts else ()


def _request(read: _Counted, messages: Collection[Message], body: bytes | LongBody) -> Request:
    refuse_key(read.api_key)
    return Request(
        dialect=NAME,
        model=read.model,
        messages=messages,
        tools=tuple(_tool(index, tool) for index, tool in enumerate(read.tools or ())),
        settings=_settings(read),
        stream=bool(read.stream),
        metadata={name: value for name, value in (read.metadata or {}).items() if value is not None},
        body=body,
    )


def _settings(read: _Counted) -> Settings:
    choice = read.tool_choice
    output = read.output_config or _Output()
    return Settings(
        temperature=read.temperature,
        top_p=read.top_p,
        top_k=read.top_k,
        max_tokens=read.max_tokens,
        stop=tuple(read.stop_sequences or ()),
        tool_choice=_choice(choice) if choice else None,
        parallel_tool_calls=False if choice and choice.disable_parallel_tool_use else None,
        response_format=_format(output.format) if output.format else None,
        reasoning_effort=_effort(read.thinking, output.effort),
    )


def _choice(choice: _Choice) -> str | dict[str, Any]:
    if choice.type != "tool":
        return "required" if choice.type == "any" else choice.type
    if not choice.name:
        raise BadRequest("tool_choice.name is missing.", param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _format(output: _Format) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": output.schema, "strict": True}}


def _effort(thinking: _Thinking | None, effort: str | None) -> str | None:
    """How much to reason, in OpenAI's words; of a budget in tokens the nearest."""
    if thinking is not None and thinking.type == "disabled":
        return "none"
    if effort is not None or thinking is None or thinking.budget_tokens is None:
        return effort
    if thinking.budget_tokens <= _LOW_BUDGET:
        return "low"
    return "medium" if thinking.budget_tokens <= _MEDIUM_BUDGET else "high"


def _tool(index: int, tool: _ToolFields) -> Tool:
    if tool.type not in (None, "custom"):
        return Tool(tool.name, kind=tool.type)
    if tool.input_schema is None:
        raise BadRequest(f"tools[{index}].input_schema is missing.", param=f"tools[{index}].input_schema")
    return Tool(tool.name, tool.description, tool.input_schema, tool.strict)


# What a `Request` says, and what concerns nobody but the caller, this server, and Anthropic's caches and queues.
_SAID = frozenset(_Body.__struct_fields__) | {"cache_control", "diagnostics", "service_tier"}
_SAID_OF_A_TOOL = frozenset(_ToolFields.__struct_fields__) | {"cache_control", "eager_input_streaming"}
_SAID_THINKING = (b'"enabled"', b'"adaptive"', b'"disabled"')
_NOTHING = (b"null", b"false", b"[]", b"{}")


def unsaid(request: Request) -> list[str]:
    """Fields with a value that the request's own fields do not say: see `Dialect.unsaid`."""
    body = request.body
    fields = _decode_fields(body.head if isinstance(body, LongBody) else body)
    names = _others(fields, _SAID)
    names += [f"output_config.{name}" for name in _others(_object(fields.get("output_config")), {"effort", "format"})]
    if thinking := _object(fields.get("thinking")):
        names += [] if bytes(thinking["type"]) in _SAID_THINKING else ["thinking.type"]
    for index, tool in enumerate(_tools(body, fields)):
        names += [f"tools[{index}].{name}" for name in _others(tool, _SAID_OF_A_TOOL) if "input_schema" in tool]
    return names


def _others(fields: dict[str, Raw], known: Collection[str]) -> list[str]:
    return [name for name, value in fields.items() if name not in known and bytes(value) not in _NOTHING]


def _object(raw: Raw | None) -> dict[str, Raw]:
    return {} if raw is None or bytes(raw) == b"null" else _decode_fields(raw)


def _tools(body: bytes | LongBody, fields: dict[str, Raw]) -> list[dict[str, Raw]]:
    """The tools' own fields; a long list of them was looked at when the request was read, so it is not too long."""
    raw = fields.get("tools", Raw(b"null"))
    if isinstance(body, LongBody) and (cut := body.cuts.get("tools")) and cut.size <= LARGEST_STEP:
        raw = Raw(b"".join(cut.whole()))
    return _decode_objects(raw) or []
