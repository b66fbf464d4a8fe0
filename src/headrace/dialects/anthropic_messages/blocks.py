"""Content blocks of requests, as parts and tool calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from headrace.bodies import LongBody
from headrace.dialects.base import read_json
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, ToolCall


class _Typed(msgspec.Struct):
    type: str


class _Text(msgspec.Struct):
    text: str


class _Source(msgspec.Struct):
    """Where the bytes of an image or a document are; which fields it has is said by its type."""

    type: str
    data: str = ""
    media_type: str = ""
    url: str = ""
    file_id: str = ""
    content: str | list[Raw] = ""


class _Citations(msgspec.Struct):
    enabled: bool | None = None


class _Document(msgspec.Struct):
    source: _Source
    title: str | None = None
    context: str | None = None
    citations: _Citations | None = None


class _Image(msgspec.Struct):
    source: _Source


class _Thinking(msgspec.Struct):
    thinking: str
    signature: str = ""


class _Redacted(msgspec.Struct):
    data: str


class _ToolUse(msgspec.Struct):
    id: str
    name: str
    input: Raw


class _ToolResult(msgspec.Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


_typed = msgspec.json.Decoder(_Typed).decode
_text = msgspec.json.Decoder(_Text).decode
_image = msgspec.json.Decoder(_Image).decode
_document = msgspec.json.Decoder(_Document).decode
_thinking = msgspec.json.Decoder(_Thinking).decode
_redacted = msgspec.json.Decoder(_Redacted).decode
_tool_use = msgspec.json.Decoder(_ToolUse).decode
_tool_result = msgspec.json.Decoder(_ToolResult).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

Content = str | list[Raw]
_ONLY = {"tool_use": "assistant", "thinking": "assistant", "redacted_thinking": "assistant", "tool_result": "user"}
"""Whose block it is."""


def messages_of(where: str, role: Any, content: Content, body: LongBody | None) -> Sequence[Message]:
    """The messages that one of this shape is: what tools gave back comes first, each result as its own.

    `where` is the message's path; `body` is what the strings in it may stand for.

    Raises:
        BadRequest: with `param` naming the block's field.
    """
    if isinstance(content, str):
        return (Message(role, (Part("text", content),) if content else ()),)
    results: list[Message] = []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for number, raw in enumerate(content):
        path = f"{where}.content[{number}]"
        kind = read_json(_typed, raw, path).type
        if _ONLY.get(kind, role) != role:
            raise BadRequest(f"{path}: a block of type {kind} is not for the role {role}.", param=f"{path}.type")
        if kind == "tool_result":
            results.append(_result(path, raw))
        elif kind == "tool_use":
            calls.append(_call(path, raw, body))
        else:
            parts += _parts(path, kind, raw)
    if results and not parts:
        return results
    return (*results, Message(role, tuple(parts), tool_calls=tuple(calls)))


def parts_of(where: str, content: Content) -> tuple[Part, ...]:
    """The parts of a content that has neither calls nor results. Raises `BadRequest`."""
    if isinstance(content, str):
        return (Part("text", content),) if content else ()
    parts: list[Part] = []
    for number, raw in enumerate(content):
        path = f"{where}[{number}]"
        parts += _parts(path, read_json(_typed, raw, path).type, raw)
    return tuple(parts)


def _parts(path: str, kind: str, raw: Raw) -> Iterator[Part]:
    match kind:
        case "text":
            yield Part("text", read_json(_text, raw, path).text)
        case "image":
            yield _media("image", path, read_json(_image, raw, path).source, raw)
        case "document":
            yield from _document_parts(path, read_json(_document, raw, path), raw)
        case "thinking":
            thinking = read_json(_thinking, raw, path)
            yield Part("reasoning", thinking.thinking, signature=thinking.signature)
        case "redacted_thinking":
            yield Part("redacted", signature=read_json(_redacted, raw, path).data)
        case _:
            yield Part(kind, raw=raw)


def _document_parts(path: str, document: _Document, raw: Raw) -> Iterator[Part]:
    """A document; where it is text, or blocks, those are its parts, after its title and its context."""
    if document.citations is not None and document.citations.enabled:  # which only Anthropic's servers can do
        yield Part("document", raw=raw)
        return
    source = document.source
    if source.type not in ("text", "content"):
        yield _media("file", path, source, raw, document.title or "")
    else:
        yield from (Part("text", said) for said in (document.title, document.context) if said)
        yield from parts_of(f"{path}.source.content", source.data if source.type == "text" else source.content)


def _media(kind: str, path: str, source: _Source, raw: Raw, name: str = "") -> Part:
    match source.type:
        case "base64":
            media = Media(data=_needed(path, "data", source.data), type=source.media_type, name=name)
        case "url":
            media = Media(url=_needed(path, "url", source.url), name=name)
        case "file":
            media = Media(file_id=_needed(path, "file_id", source.file_id), name=name)
        case _:
            return Part("document" if kind == "file" else f"image ({source.type})", raw=raw)
    return Part(kind, media=media)


def _needed(path: str, field: str, value: str) -> str:
    if not value:
        raise BadRequest(f"{path}.source.{field} is missing.", param=f"{path}.source.{field}")
    return value


def _result(path: str, raw: Raw) -> Message:
    result = read_json(_tool_result, raw, path)
    parts = parts_of(f"{path}.content", result.content or "")
    return Message("tool", parts, call_id=result.tool_use_id, is_error=bool(result.is_error))


def _call(path: str, raw: Raw, body: LongBody | None) -> ToolCall:
    """A call with its input as it was written (P18)."""
    call = read_json(_tool_use, raw, path)
    read_json(_object, call.input, f"{path}.input")
    written = bytes(call.input)
    if body is not None and body.mark in written:
        return ToolCall(call.id, call.name, body.quoted(written))
    return ToolCall(call.id, call.name, written.decode())
