"""Anthropic Messages: named events for blocks that open and close, then `message_stop`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest
from headrace.mock.answer import Answer, Call
from headrace.mock.question import Question
from headrace.mock.shapes.base import Glance, Piece, Shape, Writer, frame, text_of
from headrace.mock.steps import Frame, Part

_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_FINISHES: Final = {reason: finish for finish, reason in _STOP_REASONS.items()}
_ERRORS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_EVENTS: Final = {"message_start", "message_delta", "message_stop", "ping"}
_encode = msgspec.json.encode


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]]


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None


class _Counted(msgspec.Struct):
    """What is counted has no limit."""

    model: str
    messages: list[_Message]
    system: str | list[dict[str, Any]] | None = None
    tools: list[_Tool] | None = None


class _Body(_Counted, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    mock: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: _Delta | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class MessagesWriter(Writer):
    """Blocks of content."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._index = 0

    def begin(self) -> Iterator[Frame]:
        """The message, still empty; what it has written so far is the least that is ever counted."""
        started = {"input_tokens": self._counted(self._answer.usage.input), "output_tokens": self._counted(1)}
        yield _event("message_start", message=self._message([], None, started))

    def reasoning(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """The signature is the last thing that a block of thinking says."""
        yield from self._opened({"type": "thinking", "thinking": "", "signature": ""})
        yield from self._deltas(b'"thinking_delta","thinking":', pieces)
        yield self._delta({"type": "signature_delta", "signature": self._signature})
        yield self._closed()

    def text(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """Text without citations."""
        yield from self._opened({"type": "text", "text": ""})
        yield from self._deltas(b'"text_delta","text":', pieces)
        yield self._closed()

    def call(self, call: Call) -> Iterator[Frame]:
        """The first fragment of the input is always an empty one."""
        yield from self._opened(_tool_use(call, {}))
        yield self._delta({"type": "input_json_delta", "partial_json": ""})
        for fragment in call.fragments:
            yield self._delta({"type": "input_json_delta", "partial_json": fragment}, "content", 1)
        yield self._closed()

    def end(self) -> Iterator[Frame]:
        """Usage is of the whole message."""
        delta = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield _event("message_delta", part="finish", delta=delta, usage=self._usage)
        yield _event("message_stop", part="done")

    def body(self) -> bytes:
        """A message."""
        answer = self._answer
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            thinking = "".join(answer.reasoning)
            content.append({"type": "thinking", "thinking": thinking, "signature": self._signature})
        if answer.content:
            content.append({"type": "text", "text": answer.text})
        content += [_tool_use(call, Raw(call.arguments.encode())) for call in answer.calls]
        return _encode(self._message(content, self._stop_reason, self._usage))

    @property
    def _stop_reason(self) -> str:
        return _STOP_REASONS.get(self._answer.finish, self._answer.finish)

    @property
    def _signature(self) -> str:
        """Opaque to everybody, and the same for the same thoughts."""
        digest = hashlib.shake_256("".join(self._answer.reasoning).encode()).digest(96)
        return base64.b64encode(digest).decode()

    @property
    def _usage(self) -> dict[str, int]:
        usage = self._answer.usage
        return {"input_tokens": self._counted(usage.input), "output_tokens": self._counted(usage.output)}

    def _counted(self, tokens: int) -> int:
        """No message is without usage, so there is none of it where none is wanted."""
        return 0 if self._answer.settings.usage is False else tokens

    def _message(self, content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, int]) -> dict[str, Any]:
        cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard"}
        return {
            "id": f"msg_mock{self._answer.number}_{self._answer.mark}",
            "type": "message",
            "role": "assistant",
            "model": self._answer.question.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {**usage, **cache},
        }

    def _opened(self, block: dict[str, Any]) -> Iterator[Frame]:
        yield _event("content_block_start", index=self._index, content_block=block)
        if self._index == 0:
            yield _event("ping")

    def _closed(self) -> Frame:
        self._index += 1
        return _event("content_block_stop", index=self._index - 1)

    def _delta(self, delta: dict[str, str], part: Part = "structure", tokens: int = 0) -> Frame:
        return _event("content_block_delta", part=part, tokens=tokens, index=self._index, delta=delta)

    def _deltas(self, kind: bytes, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """The frames of nearly every answer, so their constant bytes are made once."""
        opening = b"event: content_block_delta\ndata: " + (
            b'{"type":"content_block_delta","index":%d,"delta":{"type":%b' % (self._index, kind)
        )
        for text, tokens in pieces:
            yield Frame(opening + text + b"}}\n\n", tokens)


def _event(name: str, *, part: Part = "structure", tokens: int = 0, **fields: Any) -> Frame:
    return frame(_encode({"type": name, **fields}), name, part=part, tokens=tokens)


def _tool_use(call: Call, value: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call.digest}", "name": call.name, "input": value}


def _prompt(read: _Counted) -> str:
    """The result of a tool is a message of its own, as it is in other shapes."""
    texts = [] if read.system is None else [text_of(read.system)]
    for message in read.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
            continue
        results = [block for block in message.content if block.get("type") == "tool_result"]
        others = [block for block in message.content if block.get("type") != "tool_result"]
        texts += [text_of(block.get("content")) for block in results]
        if others or not results:
            texts.append(text_of(others))
    return "\n".join(texts)


class Messages(Shape):
    """`POST /v1/messages`."""

    name = "anthropic.messages"
    path = "/v1/messages"
    # Clients pass over an event without a name.
    garbage = b"event: content_block_delta\ndata: {this is not JSON\n\n"
    padding = (b'event: ping\ndata: {"type":"ping","padding":"', b'"}')

    def read(self, body: bytes) -> Question:
        """The limit is required."""
        try:
            read = _decode(body)
            prompt = _prompt(read)
        except NOT_JSON as error:
            raise BadRequest(f"The body is no Messages request: {error}.") from None
        return Question(
            model=read.model,
            prompt=prompt,
            stream=bool(read.stream),
            max_tokens=read.max_tokens,
            tools=tuple(tool.name for tool in read.tools or () if tool.type in (None, "custom")),
            mock=read.mock or {},
        )

    def count(self, body: bytes) -> bytes:
        """Answer `POST /v1/messages/count_tokens`.

        Raises:
            BadRequest: it is no such request.
        """
        try:
            prompt = _prompt(_decode_counted(body))
        except NOT_JSON as error:
            raise BadRequest(f"The body is no Messages request: {error}.") from None
        return _encode({"input_tokens": len(prompt.split())})

    def writer(self, answer: Answer) -> MessagesWriter:
        """Blocks."""
        return MessagesWriter(answer)

    def problem(self, status: int, message: str, code: str) -> bytes:
        """The kind of an error follows from its status; there is no code."""
        kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return _encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"})

    def failure(self, first: bytes, instead: bytes, form: str) -> bytes:
        """An event of its own."""
        error = {"type": "api_error", "message": "The model was told to fail."}
        return _event("error", error=error).data

    def began(self, payload: bytes) -> bool:
        """Its events have types of their own."""
        return _read_event(payload).type in _EVENTS

    def glance(self, payload: bytes) -> Glance:
        """Text, thinking and input are content."""
        event = _read_event(payload)
        delta = event.delta or _Delta()
        match event.type:
            case "content_block_delta" if delta.text or delta.thinking or delta.partial_json:
                return Glance("content", delta.text or "")
            case "message_delta":
                reason = delta.stop_reason or ""
                return Glance("finish", finish=_FINISHES.get(reason, reason))
            case "message_stop":
                return Glance("done")
            case _:
                return Glance()


def _read_event(payload: bytes) -> _Event:
    try:
        return _decode_event(payload)
    except NOT_JSON:
        return _Event()
