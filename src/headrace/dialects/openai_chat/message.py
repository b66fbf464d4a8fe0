"""Messages: read from a caller of this shape, and said in its words for a caller of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from headrace.bodies import LongBody
from headrace.dialects.base import NEUTRAL
from headrace.dialects.openai_chat.parts import read_part, said_part
from headrace.dialects.openai_chat.wire import NULL
from headrace.errors import BadRequest
from headrace.messages import Message, Part, Request, Role, ToolCall

_BESIDE = ("reasoning", "redacted")
"""Kinds that are no content in this shape."""
_BETWEEN = "\n\n"
"""Between two thoughts: this shape has room for one."""
_FAILED = "Error: "
"""What the result of a tool that failed begins with: this shape has no field for it."""
_SHOWN = "The next message shows it."
"""A result that is no text."""


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    id: str = ""
    type: str | None = None
    function: _Function | None = None


class MessageFields(msgspec.Struct):
    """A message as it comes. What is `Raw` here may be anything: it is read only for upstreams of other shapes."""

    role: Role
    content: str | list[Raw] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: Raw = NULL
    reasoning: Raw = NULL
    refusal: str | None = None
    audio: Raw = NULL
    function_call: Raw = NULL


_text_of = msgspec.json.Decoder(str).decode


def read_message(index: int, message: MessageFields, body: LongBody | None = None) -> Message:
    """One message; `body` is what its strings may stand for.

    Raises:
        BadRequest: naming the field.
    """
    where = f"messages[{index}]"
    content = message.content
    if content is None and message.role not in ("assistant", "function"):
        raise BadRequest(f"{where}.content is missing.", param=f"{where}.content")
    if isinstance(content, list):
        parts = tuple(read_part(f"{where}.content[{number}]", raw, body) for number, raw in enumerate(content))
    else:
        parts = (Part("text", content),) if content else ()
    calls = message.tool_calls or ()
    if message.role == "assistant":
        parts = (*_thoughts(message), *parts, *_beside(message), *_other_calls(calls))
    return Message(
        role=message.role,
        parts=parts,
        name=message.name,
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments) for call in calls if call.function
        ),
        call_id=message.tool_call_id,
    )


def _thoughts(message: MessageFields) -> Iterator[Part]:
    """Vendors' two names for one thing; a message that has both says it twice."""
    given = {"reasoning_content": message.reasoning_content, "reasoning": message.reasoning}
    for name, raw in given.items():
        if _says(raw):  # a text, as nearly always, or what only an upstream of this shape understands
            yield Part("reasoning", _text_of(raw)) if bytes(raw)[:1] == b'"' else Part(name, raw=raw)
            return


def _beside(message: MessageFields) -> Iterator[Part]:
    """What the model gave beside its content."""
    if message.refusal:
        yield Part("refusal", message.refusal)
    if _says(message.audio):
        yield Part("output_audio", raw=message.audio)
    if _says(message.function_call):
        yield Part("function_call", raw=message.function_call)


def _says(raw: Raw) -> bool:
    return bytes(raw) not in (b"null", b'""')


def _other_calls(calls: Iterable[_ToolCall]) -> Iterator[Part]:
    """Calls of tools that are no functions."""
    for call in calls:
        if call.function is None:
            yield Part(call.type or "tool_call", raw=Raw(msgspec.json.encode(call)))


def said_messages(request: Request) -> Iterator[dict[str, Any]]:
    """The messages of a request of another shape in this one's words, one after the other.

    Raises:
        BadRequest: this shape has no word for a part.
    """
    shown: list[Any] = []
    for index, message in enumerate(request.messages):
        if message.role != "tool" and shown:
            yield {"role": "user", "content": shown}
            shown = []
        where = f"messages[{index}].content" if request.dialect == NEUTRAL else "messages"
        if message.role == "tool":
            fields, more = _said_result(message, where, request)
            yield fields
            shown += more
        else:
            yield _said_message(message, where, request)
    if shown:
        yield {"role": "user", "content": shown}


def _said_message(message: Message, where: str, request: Request) -> dict[str, Any]:
    said = [_said(part, where, request) for part in message.parts if part.kind not in _BESIDE]
    fields: dict[str, Any] = {"role": message.role, "content": _content(said)}
    if message.role == "assistant" and message.tool_calls and not said:
        fields["content"] = None
    thoughts = [part.text for part in message.parts if part.kind == "reasoning" and part.text]
    if thoughts:
        fields["reasoning_content"] = _joined(thoughts, request.body)
    return fields | _calls(message)


def _said_result(message: Message, where: str, request: Request) -> tuple[dict[str, Any], list[Any]]:
    """What a tool gave back, and what of it a user has to show, because a tool's message takes no media.

    Results follow the calls without a gap, so what is shown comes after the last of them.
    """
    parts = [part for part in message.parts if part.kind not in _BESIDE]
    shown = [_said(part, where, request) for part in parts if part.media is not None]
    said = [_said(part, where, request) for part in parts if part.media is None]
    if shown:
        # The id is the end of the text: in a long request it may be a stand-in, after which nothing may come.
        whose = f"the call {message.call_id}" if message.call_id else "the last call"
        shown.insert(0, {"type": "text", "text": f"This is in the result of {whose}"})
        said = said or [{"type": "text", "text": _SHOWN}]
    if message.is_error:
        said = _failed(said)
    return {"role": "tool", "content": _content(said)} | _calls(message), shown


def _failed(said: list[Any]) -> list[Any]:
    """The same, beginning with the word that it failed."""
    match said:
        case [{"type": "text", "text": text}, *rest]:
            return [{"type": "text", "text": f"{_FAILED}{text}"}, *rest]
        case _:
            return [{"type": "text", "text": _FAILED}, *said]


def _said(part: Part, where: str, request: Request) -> dict[str, Any] | Raw:
    """One part; in Headrace's own shape one of a type that is not ours is in the upstream's form already."""
    if part.raw is not None and request.dialect == NEUTRAL:
        return part.raw
    return said_part(part, where, request.body)


def _content(said: list[Any]) -> str | list[Any]:
    """Parts, or just the text where that is all."""
    match said:
        case []:
            return ""
        case [{"type": "text", "text": str(text)}] if text:
            return text
        case _:
            return said


def _calls(message: Message) -> dict[str, Any]:
    """Who speaks, the call that is answered, and the calls that are made."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    given = {"name": message.name, "tool_call_id": message.call_id, "tool_calls": calls or None}
    return {name: value for name, value in given.items() if value is not None}


def _joined(thoughts: list[str], body: bytes | LongBody) -> str:
    return body.joined(thoughts, _BETWEEN) if isinstance(body, LongBody) else _BETWEEN.join(thoughts)
