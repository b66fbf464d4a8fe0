"""Responses requests read from a caller: items become turns, and what the answer repeats is set aside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from headrace.bodies import LongBody
from headrace.dialects import long
from headrace.dialects.base import check_utf8, read_json, refuse_key
from headrace.dialects.openai_responses import items
from headrace.dialects.openai_responses.wire import NAME
from headrace.errors import BadRequest
from headrace.messages import Message, Part, Request, Settings, Tool

_Temperature = Annotated[float, Meta(ge=0, le=2)]
_Probability = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=1)]

ENCRYPTED = "reasoning.encrypted_content"
"""What `include` may ask for and always gets."""
_LARGEST_ECHO = 64 * 1024
"""Bytes of record 0 that repeat the request: readers of the answer get them three times."""


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Body(msgspec.Struct):
    """The fields that Headrace reads; all others travel in the body."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[Raw] | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    temperature: _Temperature | None = None
    top_p: _Probability | None = None
    max_output_tokens: _Count | None = None
    metadata: dict[str, str] | None = None
    prompt: dict[str, Raw] | None = None
    conversation: Raw | UnsetType = UNSET
    api_key: Raw | UnsetType = UNSET

    @property
    def messages(self) -> list[Raw]:
        """The items; a string is what the user says."""
        if isinstance(self.input, str):
            return [Raw(msgspec.json.encode({"role": "user", "content": self.input}))]
        return self.input or []


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_fields = cast("Callable[[bytes], dict[str, Raw]]", msgspec.json.Decoder(dict[str, Raw]).decode)
_decode_names = msgspec.json.Decoder(list[str] | None).decode


def _turn(body: bytes | LongBody, index: int, item: Raw) -> tuple[Message]:
    return (items.turn(body, index, item),)


def parse(body: bytes) -> Request:
    """Read a request body: see `Dialect.parse`."""
    check_utf8(body)
    read = read_json(_decode_body, body)
    return _request(read, long.messages_of(read, _SHAPE), body)


def parse_long(body: LongBody) -> long.Steps[Request]:
    """Read a long one in steps: see `Dialect.parse_long`."""
    shape = msgspec.structs.replace(_SHAPE, made=partial(_turn, body))
    return long.read(body, shape, lambda read, messages: _request(read, messages, body))


def _request(read: _Body, messages: Collection[Message], body: bytes | LongBody) -> Request:
    _check(read, messages)
    return Request(
        dialect=NAME,
        model=read.model,
        messages=messages,
        tools=tuple(_tool(index, tool) for index, tool in enumerate(read.tools or ())),
        settings=_settings(read),
        stream=bool(read.stream),
        metadata=read.metadata or {},
        body=body,
        echo=_echo(body),
        background=bool(read.background),
        stored=read.store is not False,
        previous=read.previous_response_id,
    )


def _check(read: _Body, messages: Collection[Message]) -> None:
    """Refuse what cannot be answered whatever the model."""
    refuse_key(read.api_key)
    if isinstance(read.conversation, Raw) and bytes(read.conversation) != b"null":
        text = "conversation is not offered by this server; continue an answer with previous_response_id."
        raise BadRequest(text, param="conversation")
    if read.background and read.store is False:
        raise BadRequest("background needs a stored answer: it cannot go with store: false.", param="background")
    asked = len(messages) > (1 if read.instructions is not None else 0)
    if not asked and read.previous_response_id is None and read.prompt is None:
        raise BadRequest("input is missing.", param="input")


def _settings(read: _Body) -> Settings:
    return Settings(
        temperature=read.temperature,
        top_p=read.top_p,
        max_tokens=read.max_output_tokens,
        tool_choice=_tool_choice(read.tool_choice),
        parallel_tool_calls=read.parallel_tool_calls,
        response_format=_nested(read.text.format) if read.text and read.text.format else None,
        reasoning_effort=read.reasoning.effort if read.reasoning else None,
    )


def _tool_choice(given: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """In the chat form; None for a choice among what the model server brings."""
    if not isinstance(given, dict):
        return given
    if given.get("type") != "function":
        return None
    if not isinstance(given.get("name"), str):
        raise BadRequest("tool_choice.name is missing.", param="tool_choice.name")
    return {"type": "function", "function": {"name": given["name"]}}


def _nested(given: dict[str, Any]) -> dict[str, Any] | None:
    """`text.format` as chat completions have it; None for plain text, the default."""
    if given.get("type") == "text":
        return None
    if given.get("type") != "json_schema":
        return given
    return {"type": "json_schema", "json_schema": {name: value for name, value in given.items() if name != "type"}}


def _tool(index: int, tool: _Tool) -> Tool:
    if tool.type != "function":
        return Tool(tool.name or tool.type, kind=tool.type)
    if tool.name is None:
        raise BadRequest(f"tools[{index}].name is missing.", param=f"tools[{index}].name")
    return Tool(tool.name, tool.description, tool.parameters or {}, tool.strict)


def _turns(read: _Body, batches: Iterator[Sequence[Message]]) -> Iterator[Sequence[Message]]:
    """Instructions first, then the turns that the items make.

    They are a message of the system, not of a developer: every model server knows that role.
    """
    if read.instructions is not None:
        yield (Message("system", (Part("text", read.instructions),) if read.instructions else ()),)
    yield from items.joined(batches)


_SHAPE = long.Shape(
    body=_decode_body,
    rest=_decode_body,
    fields=frozenset(_Body.__struct_fields__),
    message=msgspec.json.Decoder(Raw).decode,
    run=msgspec.json.Decoder(list[Raw]).decode,
    made=partial(_turn, b""),
    name="input",
    turns=_turns,
)

# In the order in which they find room: what may be long comes last.
_ECHOED = (
    *("background", "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "previous_response_id"),
    *("prompt_cache_key", "reasoning", "safety_identifier", "service_tier", "store", "temperature", "text"),
    *("tool_choice", "top_logprobs", "top_p", "truncation", "user", "metadata", "prompt", "instructions", "tools"),
)


def _fields_of(body: bytes | LongBody) -> dict[str, Raw]:
    """The body's fields; of a long one with stand-ins, and without its items and its unknown long values."""
    if not isinstance(body, LongBody):
        return _decode_fields(body)
    known = {name: Raw(b"".join(cut.whole())) for name, cut in body.cuts.items() if name in _READ_WHOLE}
    return _decode_fields(body.head) | known


_READ_WHOLE = frozenset(_Body.__struct_fields__) - {"input"}


def _echo(body: bytes | LongBody) -> Raw | None:
    """What the answer repeats of the request, as it came and as far as there is room."""
    fields = _fields_of(body)
    echo: dict[str, Raw] = {}
    left = _LARGEST_ECHO - 2
    for name in _ECHOED:
        value = fields.get(name)
        if value is None or bytes(value) == b"null":
            continue
        whole = _whole(value, body, left - len(name) - 4)
        if whole is not None:
            echo[name] = whole
            left -= len(name) + 4 + len(bytes(whole))
    return Raw(msgspec.json.encode(echo)) if echo else None


def _whole(value: Raw, body: bytes | LongBody, most: int) -> Raw | None:
    """A value with all its strings; None if it is longer than this."""
    pieces: list[bytes] = []
    for piece in body.restored(bytes(value)) if isinstance(body, LongBody) else (bytes(value),):
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            return None
    return Raw(b"".join(pieces))


# What a `Request` says, and what concerns nobody but the caller, this server, and a cache of OpenAI's.
_SAID = (frozenset(_Body.__struct_fields__) - {"prompt"}) | {
    *("user", "service_tier", "safety_identifier", "stream_options"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
}
_SAID_INSIDE = {"text": {"format"}, "reasoning": {"effort", "summary", "generate_summary"}}
_DEFAULTS = {"truncation": b'"disabled"', "top_logprobs": b"0"}
_NOTHING = (b"null", b"false")


def unsaid(request: Request) -> list[str]:
    """What the request's own fields do not say: see `Dialect.unsaid`."""
    fields = _fields_of(request.body)
    names = [
        name
        for name, value in fields.items()
        if name not in _SAID and bytes(value) not in _NOTHING and bytes(value) != _DEFAULTS.get(name)
    ]
    for name, said in _SAID_INSIDE.items():
        inside = _object(fields.get(name))
        names += [f"{name}.{inner}" for inner, value in inside.items() if inner not in said and bytes(value) != b"null"]
    if "type" in (choice := _object(fields.get("tool_choice"))) and bytes(choice["type"]) != b'"function"':
        names.append("tool_choice")
    included = _decode_names(fields.get("include", Raw(b"null"))) or ()
    names += ["include" for name in included if name != ENCRYPTED][:1]
    return names


def _object(value: Raw | None) -> dict[str, Raw]:
    """The fields of a value that is an object; nothing of any other."""
    return _decode_fields(bytes(value)) if value is not None and bytes(value)[:1] == b"{" else {}
