"""Items of a conversation to turns: one item is a message, a call, or what the model thought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Raw

from headrace.bodies import LongBody
from headrace.dialects.base import read_json
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Role, ToolCall

_Content = str | list[Raw]
_LONGEST_TURN = 1000
"""Items; what makes more of them in one go would hold others up."""


class _Outline(msgspec.Struct):
    type: str | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: _Content


class _Call(msgspec.Struct):
    call_id: str
    name: str
    arguments: str


class _Output(msgspec.Struct):
    call_id: str
    output: _Content


class _Thought(msgspec.Struct):
    text: str = ""


class _Reasoning(msgspec.Struct):
    summary: list[_Thought] | None = None
    content: list[_Thought] | None = None
    encrypted_content: str | None = None


class _Text(msgspec.Struct):
    text: str


class _Refusal(msgspec.Struct):
    refusal: str


class _Image(msgspec.Struct):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class _File(msgspec.Struct):
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _Sound(msgspec.Struct):
    data: str
    format: str = ""


class _Audio(msgspec.Struct):
    input_audio: _Sound


class _PartType(msgspec.Struct):
    type: str


_outline = msgspec.json.Decoder(_Outline).decode
_message = msgspec.json.Decoder(_Message).decode
_call = msgspec.json.Decoder(_Call).decode
_output = msgspec.json.Decoder(_Output).decode
_reasoning = msgspec.json.Decoder(_Reasoning).decode
_part_type = msgspec.json.Decoder(_PartType).decode
_text = msgspec.json.Decoder(_Text).decode
_refusal = msgspec.json.Decoder(_Refusal).decode
_image = msgspec.json.Decoder(_Image).decode
_file = msgspec.json.Decoder(_File).decode
_audio = msgspec.json.Decoder(_Audio).decode


def turn(body: bytes | LongBody, index: int, item: Raw) -> Message:
    """The message that one item is, alone; `body` is the request's, whose strings may be stand-ins.

    Raises:
        BadRequest: naming the field.
    """
    where = f"input[{index}]"
    kind = read_json(_outline, item, where).type
    match kind:
        case None | "message":
            message = read_json(_message, item, where)
            return Message(message.role, _parts(f"{where}.content", message.content, body))
        case "function_call":
            call = read_json(_call, item, where)
            return Message("assistant", tool_calls=(ToolCall(call.call_id, call.name, call.arguments),))
        case "function_call_output":
            output = read_json(_output, item, where)
            return Message("tool", _parts(f"{where}.output", output.output, body), call_id=output.call_id)
        case "reasoning":
            return Message("assistant", (_thought(read_json(_reasoning, item, where)),))
        case _:  # only an upstream of this shape knows what it is
            role: Role = "tool" if kind.endswith("_output") else "assistant"
            return Message(role, (Part(kind, raw=item),))


def joined(batches: Iterator[Sequence[Message]]) -> Iterator[Sequence[Message]]:
    """The turns that messages make: what an assistant thought, said and called one after the other is one."""
    turn: list[Message] = []
    for batch in batches:
        turns: list[Message] = []
        for message in batch:
            if turn and not (turn[0].role == message.role == "assistant" and len(turn) < _LONGEST_TURN):
                turns.append(_one(turn))
                turn.clear()
            turn.append(message)
        yield turns
    if turn:
        yield (_one(turn),)


def _one(turn: list[Message]) -> Message:
    if len(turn) == 1:
        return turn[0]
    parts = tuple(part for message in turn for part in message.parts)
    return Message("assistant", parts, tool_calls=tuple(call for message in turn for call in message.tool_calls))


def _thought(item: _Reasoning) -> Part:
    """The reasoning itself where the model shows it, else its summary."""
    text = "\n\n".join(thought.text for thought in item.content or item.summary or ())
    signature = item.encrypted_content or ""
    return Part("reasoning" if text or not signature else "redacted", text, signature=signature)


def _parts(where: str, content: _Content, body: bytes | LongBody) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Part("text", content),) if content else ()
    return tuple(_part(f"{where}[{number}]", raw, body) for number, raw in enumerate(content))


def _part(where: str, raw: Raw, body: bytes | LongBody) -> Part:
    kind = read_json(_part_type, raw, where).type
    match kind:
        case "input_text" | "output_text" | "text":
            return Part("text", read_json(_text, raw, where).text)
        case "refusal":
            return Part("refusal", read_json(_refusal, raw, where).refusal)
        case "input_image":
            return Part("image", media=_picture(where, read_json(_image, raw, where)))
        case "input_file":
            return Part("file", media=_document(where, read_json(_file, raw, where), body))
        case "input_audio":
            sound = read_json(_audio, raw, where).input_audio
            return Part("audio", media=Media(data=sound.data, type=sound.format))
        case _:
            return Part(kind, raw=raw)


def _picture(where: str, image: _Image) -> Media:
    if not image.image_url and not image.file_id:
        raise BadRequest(f"{where}.image_url is missing.", param=f"{where}.image_url")
    return Media(url=image.image_url or "", file_id=image.file_id or "", detail=image.detail or "")


def _document(where: str, file: _File, body: bytes | LongBody) -> Media:
    """A file; `file_data` is a `data:` URL, or the base64 alone."""
    data, url, name = file.file_data or "", file.file_url or "", file.filename or ""
    if not (data or url or file.file_id):
        raise BadRequest(f"{where}.file_data is missing.", param=f"{where}.file_data")
    begun = body.sample(data)[0] if isinstance(body, LongBody) else data
    if begun[:5].lower() == "data:":
        data, url = "", data
    return Media(data=data, url=url, file_id=file.file_id or "", name=name)
