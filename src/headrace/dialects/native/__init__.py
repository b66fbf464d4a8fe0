"""Headrace's own shape: every frame is one record of the log, so nothing is lost.

Its ordinals are record counts: frame k is the record with seq k-1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from headrace.bodies import LongBody
from headrace.codecs.sse import HEARTBEAT
from headrace.dialects import long
from headrace.dialects.base import NEUTRAL, Place, check_utf8, read_json
from headrace.dialects.native.parts import read_part
from headrace.errors import HeadraceError
from headrace.events import Answer, AnswerItem, Cancelled, Failed, Finished, Record, Terminal
from headrace.messages import Message, Part, Request, Role, Settings, Tool, ToolCall


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Role
    content: str | list[Raw] = ""
    name: str | None = None
    tool_calls: list[ToolCall] = []
    call_id: str | None = None
    is_error: bool = False


class _Tool(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class _Settings(msgspec.Struct, forbid_unknown_fields=True):
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """Unknown fields are refused: this shape is ours, so a field that it does not have is a mistake."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    settings: _Settings | None = None
    tools: list[_Tool] = []
    metadata: dict[str, str] = {}
    stream: bool | None = None


class _Rest(_Body, forbid_unknown_fields=True):
    """Without its messages, where they are read on their own."""

    messages: list[_Message]  # pyright: ignore[reportIncompatibleVariableOverride]


_decode_body = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.encode


class NativeView:
    """The identity fold."""

    plain = True

    def fold(self, record: Record) -> list[Record]:
        """The record itself."""
        return [record]

    def encode(self, frame: Record) -> bytes:
        """Its JSON."""
        return _encode(frame)

    def size(self, frame: Record) -> int:
        """Every record counts one."""
        return 1

    def event(self, frame: Record) -> str | None:
        """No event names: `EventSource.onmessage` gets every record."""
        return None


class Native:
    """The `Dialect` of `/v1/streams`."""

    name = NEUTRAL
    code = "n"
    prefix = ""
    params = ""
    heartbeat = HEARTBEAT
    place = Place(limits=("max_tokens",), within="settings")

    def parse(self, body: bytes) -> Request:
        """Read `{model, messages, settings, tools, metadata}`: see `Dialect.parse`."""
        check_utf8(body)
        read = read_json(_decode_body, body)
        return _request(read, tuple(_message(index, message) for index, message in enumerate(read.messages)), body)

    def parse_long(self, body: LongBody) -> long.Steps[Request]:
        """Read a long one in steps: see `Dialect.parse_long`."""
        return long.read(body, _SHAPE, lambda read, messages: _request(read, messages, body))

    def unsaid(self, request: Request) -> tuple[str, ...]:
        """Nothing: this shape has only what a `Request` has."""
        return ()

    def view(self, params: str) -> NativeView:
        """A new fold; there are no parameters."""
        return NativeView()

    def clean_end(self, terminal: Terminal) -> bool:
        """The terminal record itself says how it ended, so every end is clean."""
        return True

    def answer(self, answer: Answer) -> bytes:
        """Text, items, usage and how it ended, as one JSON object."""
        return _encode(answer_object(answer))

    def error(self, error: HeadraceError, partial: str | None = None) -> bytes:
        """`{"error": {code, message, retryable, param, partial}}`; fields that do not apply are left out."""
        fields: dict[str, Any] = {
            "code": error.error_code,
            "message": error.message,
            "retryable": error.may_retry,
        }
        if error.param is not None:
            fields["param"] = error.param
        if partial is not None:
            fields["partial"] = partial
        return _encode({"error": fields})


def answer_object(answer: Answer) -> dict[str, Any]:
    """What `GET /v1/streams/{id}` says of the content; also of a stream that still runs."""
    choices = [
        {
            "index": choice.index,
            "finish_reason": choice.finish,
            "items": [_item(item) for item in choice.items],
        }
        for choice in answer.choices
    ]
    return {
        "id": answer.start.id,
        "model": answer.start.model,
        "created": answer.start.created,
        "text": answer.text,
        "choices": choices,
        "usage": answer.usage and msgspec.structs.asdict(answer.usage),
        "metadata": answer.start.meta,
        **_ending(answer.terminal),
    }


def _item(item: AnswerItem) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": item.kind, "text": item.text}
    optional = {"name": item.name, "call_id": item.call_id, "signature": item.signature}
    return fields | {name: value for name, value in optional.items() if value is not None}


def _ending(terminal: Terminal | None) -> dict[str, Any]:
    match terminal:
        case Finished():
            return {"finish_reason": terminal.reason}
        case Failed():
            return {"error": {"code": terminal.code, "message": terminal.message, "retryable": terminal.retryable}}
        case Cancelled():
            return {"cancelled_by": terminal.by}
        case None:
            return {}


def _request(read: _Body, messages: Collection[Message], body: bytes | LongBody) -> Request:
    return Request(
        dialect=Native.name,
        model=read.model,
        messages=messages,
        tools=tuple(Tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in read.tools),
        settings=Settings(**msgspec.structs.asdict(read.settings or _Settings())),
        stream=bool(read.stream),
        metadata=read.metadata,
        body=body,
    )


def _message(index: int, message: _Message) -> Message:
    content = message.content
    if isinstance(content, str):
        parts = (Part("text", content),) if content else ()
    else:
        parts = tuple(read_part(f"messages[{index}].content[{number}]", raw) for number, raw in enumerate(content))
    calls = tuple(message.tool_calls)
    return Message(message.role, parts, message.name, calls, message.call_id, message.is_error)


_SHAPE = long.Shape(
    body=_decode_body,
    rest=msgspec.json.Decoder(_Rest).decode,
    fields=frozenset(_Body.__struct_fields__),
    message=msgspec.json.Decoder(_Message).decode,
    run=msgspec.json.Decoder(list[_Message]).decode,
    made=lambda index, message: (_message(index, message),),
)
