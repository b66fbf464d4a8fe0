"""Responses requests written for an upstream: as they came, or from another shape's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
from msgspec import Raw

from headrace.bodies import LongBody
from headrace.dialects import long
from headrace.dialects.base import unsupported
from headrace.dialects.media import address
from headrace.dialects.openai_responses.request import ENCRYPTED
from headrace.dialects.openai_responses.wire import NAME
from headrace.messages import Media, Message, Part, Request, Settings, Tool

Fields = dict[str, Any]
_decode_fields = cast("Callable[[bytes], Fields]", msgspec.json.Decoder(dict[str, Raw]).decode)


def write(request: Request, model: str, *, stream: bool) -> bytes:
    """The body for an upstream of this shape (P12).

    A request of the same shape is sent on as it came, with only `model` and `stream` replaced, and without
    `background`: what runs in the background is our own relay, so that a stop reaches the model.

    Raises:
        BadRequest: the request asks for what the shape has no words for.
    """
    body = request.body
    if isinstance(body, LongBody):
        return b"".join(write_long(request, body, model, stream=stream))
    if request.dialect == NAME:
        fields = _decode_fields(body)
    else:
        items = [item for message in request.messages for item in _items(message, body)]
        fields = _fields(request, items)
    return msgspec.json.encode(_addressed(fields, model, stream=stream))


def write_long(request: Request, body: LongBody, model: str, *, stream: bool) -> Iterator[bytes]:
    """The same of a long request, in pieces that are made one at a time."""
    if request.dialect == NAME:
        fields = _decode_fields(body.head)
        fields |= {name: cut.whole() for name, cut in body.cuts.items() if name in fields}
    else:
        batches = long.batches_of(request.messages)
        items = ([item for message in batch for item in _items(message, body)] for batch in batches)
        fields = _fields(request, long.lists_of(items))
    return long.written(body, _addressed(fields, model, stream=stream))


def _addressed(fields: Fields, model: str, *, stream: bool) -> Fields:
    """The fields for this model, with or without a stream."""
    fields.pop("background", None)
    if not stream:
        fields.pop("stream_options", None)
    return fields | {"model": model, "stream": stream}


def _fields(request: Request, items: Any) -> Fields:
    """A request of another shape in this one's words. Nobody will come back for the answer's id."""
    fields: Fields = {"input": items, **_settings(request.settings), "store": False, "include": [ENCRYPTED]}
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
    return fields


_UNKNOWN = ("stop", "seed", "n", "presence_penalty", "frequency_penalty", "top_k")
_SAYS_NOTHING: dict[str, Any] = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0, "stop": ()}
"""Values that are what a model server does anyway."""


def _settings(settings: Settings) -> Fields:
    for name in _UNKNOWN:
        value = getattr(settings, name)
        if value is not None and value != _SAYS_NOTHING.get(name):
            raise unsupported(name, "The Responses API has no such setting.")
    fields: Fields = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_output_tokens": settings.max_tokens,
        "tool_choice": _tool_choice(settings.tool_choice),
        "parallel_tool_calls": settings.parallel_tool_calls,
        "text": None if settings.response_format is None else {"format": _flat(settings.response_format)},
        "reasoning": None if settings.reasoning_effort is None else {"effort": settings.reasoning_effort},
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tool_choice(choice: str | Fields | None) -> str | Fields | None:
    if not isinstance(choice, dict):
        return choice
    function = choice.get("function")
    if choice.get("type") != "function" or not isinstance(function, dict):
        raise unsupported("tool_choice", "It is none, auto, required, or a function's name.")
    return {"type": "function", "name": cast("Fields", function).get("name")}


def _flat(given: Fields) -> Fields:
    """`response_format` as `text.format`."""
    inner = given.get("json_schema")
    return {"type": "json_schema", **cast("Fields", inner)} if isinstance(inner, dict) else given


def _tool(tool: Tool) -> Fields:
    if tool.kind != "function":
        raise unsupported("tools", f"{tool.kind} is a tool of another API.")
    fields: Fields = {"type": "function", "name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        fields["description"] = tool.description
    return fields | {"strict": bool(tool.strict)}  # which is the default in all APIs but this one


def _items(message: Message, body: bytes | LongBody) -> Iterator[Fields]:
    """The items that one message is."""
    if message.role in ("tool", "function"):
        if message.call_id is None:
            raise unsupported("messages", "The result of a tool needs the id of its call.")
        yield {
            "type": "function_call_output",
            "call_id": message.call_id,
            "output": _content(message.parts, body, "input_text"),
        }
        return
    if message.name is not None:
        raise unsupported("messages", "The Responses API has no names of participants.")
    if message.role == "assistant":
        yield from _said(message, body)
    else:
        yield {"type": "message", "role": message.role, "content": _content(message.parts, body, "input_text")}


def _said(message: Message, body: bytes | LongBody) -> Iterator[Fields]:
    """What the model thought, said and called, in this order; reasoning that it cannot read again is left out."""
    words: list[Part] = []
    for part in message.parts:
        if part.kind not in ("reasoning", "redacted"):
            words.append(part)
        elif part.signature:
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            yield {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}
    if words:
        yield {"type": "message", "role": "assistant", "content": _content(tuple(words), body, "output_text")}
    for call in message.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _content(parts: tuple[Part, ...], body: bytes | LongBody, text: str) -> str | list[Fields]:
    """A string where there is nothing but one text."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].kind == "text":
        return parts[0].text
    return [_part(part, body, text) for part in parts]


def _part(part: Part, body: bytes | LongBody, text: str) -> Fields:
    media = part.media or Media()
    match part.kind:
        case "text":
            return {"type": text, "text": part.text}
        case "refusal":
            return {"type": "refusal", "refusal": part.text}
        case "image":
            place = {"file_id": media.file_id} if media.file_id else {"image_url": address(media, body)}
            return {"type": "input_image", **place, "detail": media.detail or "auto"}
        case "file":
            return {"type": "input_file", **_document(media, body)}
        case _:
            raise unsupported("messages", f"The Responses API has no part of the type {part.kind}.")


def _document(media: Media, body: bytes | LongBody) -> Fields:
    """A file by its id, its address or its bytes."""
    name = {"filename": media.name} if media.name else {}
    if media.file_id:
        return {"file_id": media.file_id}
    whole = address(media, body)
    begun = body.sample(media.url)[0] if isinstance(body, LongBody) else media.url
    if media.data or begun[:5].lower() == "data:":
        return {**name, "file_data": whole}
    return {"file_url": whole}
