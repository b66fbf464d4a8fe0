"""Whole answers: the log as one `message`, and an upstream's `message` as chunks.

Fields that are not modelled come from the upstream's own frames: of the message the last value, of a block what it
began with, and its citations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.anthropic_messages.decoder import MessagesDecoder
from headrace.dialects.anthropic_messages.wire import (
    NAME,
    NO_INPUT,
    NULL,
    PREFIX,
    stop_reason_of,
    usage_block,
)
from headrace.errors import UpstreamProtocol
from headrace.events import Answer, AnswerItem, Chunk, Finished, Usage

_OWN = ("id", "model", "content", "usage")
_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_list_of = msgspec.json.Decoder(list[Raw] | None).decode
_string_of = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode


class _Frame(msgspec.Struct):
    type: str = ""
    index: int = -1
    message: Raw = NULL
    content_block: Raw = NULL
    delta: Raw = NULL
    usage: Raw = NULL


class _Delta(msgspec.Struct):
    type: str = ""
    citation: Raw = NULL


_delta_of = msgspec.json.Decoder(_Delta).decode
_frame_of = msgspec.json.Decoder(_Frame).decode


class _Said:
    """What the raw frames of this shape say besides."""

    def __init__(self, raws: Sequence[Raw]) -> None:
        self.message: dict[str, Raw] = {}
        self.usage: dict[str, Raw] = {}
        self.blocks: list[dict[str, Any]] = []
        """One for each item, in order: the block as it began, with its citations."""
        self._by_index: dict[int, dict[str, Any]] = {}
        for raw in raws:
            try:
                self._take(_frame_of(raw))
            except NOT_JSON:
                continue  # an event that we do not know has fields of these names

    def _take(self, frame: _Frame) -> None:
        match frame.type:
            case "message_start":
                self.message = _fields_of(frame.message)
                self._count(self.message.get("usage", NULL))
            case "content_block_start":
                self._begin(frame.index, {**_fields_of(frame.content_block)})
            case "content_block_delta":
                self._piece(frame)
            case "message_delta":
                self.message |= _some(frame.delta)
                self._count(frame.usage)
            case _:
                pass

    def _begin(self, index: int, block: dict[str, Any]) -> dict[str, Any]:
        self.blocks.append(block)
        self._by_index[index] = block
        return block

    def _piece(self, frame: _Frame) -> None:
        block = self._by_index.get(frame.index)
        delta = _delta_of(frame.delta)
        if delta.type == "citations_delta":
            if block is None:
                return
            known = block.get("citations")
            block["citations"] = [*(known if isinstance(known, list) else _elements(known or NULL)), delta.citation]
        elif block is None:
            self._begin(frame.index, {})

    def _count(self, usage: Raw) -> None:
        """Counts are cumulative: what is null, or not said, keeps its value."""
        said = _some(usage)
        self.usage |= {name: value for name, value in said.items() if name not in self.usage or bytes(value) != b"null"}


def _elements(raw: Raw) -> list[Raw]:
    return _list_of(raw) or list[Raw]()


def _some(raw: Raw) -> dict[str, Raw]:
    return {} if bytes(raw) == b"null" else _fields_of(raw)


def message(answer: Answer) -> bytes:
    """The non-streaming answer: choice 0."""
    said = _Said(answer.raw if answer.raw_dialect == NAME else ())
    choice = answer.choices[0] if answer.choices else None
    body: dict[str, Any] = {
        "id": PREFIX + answer.start.id,
        "type": "message",
        "role": "assistant",
        "model": answer.start.model,
        "content": list(_content(choice.items if choice else (), said.blocks)),
        "stop_reason": _stop_reason(answer),
        "stop_sequence": None,
    }
    body |= {name: value for name, value in said.message.items() if name not in _OWN}
    if bytes(said.message.get("stop_reason", NULL)) == b"null":
        body["stop_reason"] = _stop_reason(answer)
    body["usage"] = _usage(answer.usage or Usage(answer.start.input_tokens, 0, source="estimated"), said.usage)
    return _encode(body)


def _stop_reason(answer: Answer) -> str | None:
    finish = answer.choices[0].finish if answer.choices else None
    if finish is None and isinstance(answer.terminal, Finished):
        finish = answer.terminal.reason
    return None if finish is None else stop_reason_of(finish)


def _usage(usage: Usage, said: dict[str, Raw]) -> dict[str, Any]:
    """The upstream's own block where its counts are the ones that hold; of any other, what it says besides."""
    ours = usage_block(usage)
    if usage.source != "provider":
        return ours
    holds = all(bytes(said.get(name, NULL)) in (b"null", b"%d" % ours[name]) for name in _COUNTS)
    return {**ours, **said} if holds else {**said, **ours}


def _content(items: Sequence[AnswerItem], said: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The blocks; `said` are those of the raw frames, if the items came with them."""
    for index, item in enumerate(items):
        block = _block(item, said[index] if index < len(said) else {})
        if block is not None:
            yield block


def _block(item: AnswerItem, said: dict[str, Any]) -> dict[str, Any] | None:
    match item.kind:
        case "text" | "refusal":
            return {"type": "text", **said, "text": item.text}
        case "reasoning" if item.name == "redacted":
            return {"type": "redacted_thinking", **said, "data": item.signature} if item.signature else None
        case "reasoning":
            return {"type": "thinking", **said, "thinking": item.text, "signature": item.signature or ""}
        case "tool_call":
            named = {"type": "tool_use", "id": item.call_id or "", "name": item.name or ""}
            return {**named, **said, **_input(item.text)}
        case "data" if said:
            return {**said, **_input(item.text)} if item.text else said
        case _:
            return None


def _input(text: str) -> dict[str, Any]:
    """The input as the model wrote it (P18); one that was cut off, beside an empty one."""
    if not text.strip():
        return {"input": NO_INPUT}
    try:
        msgspec.json.decode(text)
    except NOT_JSON:
        return {"input": NO_INPUT, "partial_json": text}
    return {"input": Raw(text.encode())}


def chunks_of(body: bytes, decoder: MessagesDecoder) -> list[Chunk]:
    """An upstream's non-streaming answer as the chunks of a stream (`stream: force`).

    Raises:
        UpstreamError: the body is an error, in the shape's own form.
        UpstreamProtocol: the body is not a `message`.
    """
    try:
        fields = _fields_of(body)
        content = _elements(fields["content"])
        frames = list(_frames_of(fields, content))
    except (*NOT_JSON, KeyError) as problem:
        decoder.feed(body)  # raises, if it is an error
        raise UpstreamProtocol("The model server's answer is not a message of Anthropic's.") from problem
    chunks = [decoder.feed(_encode(frame)) for frame in frames]
    return [chunk for chunk in chunks if chunk is not None]


def _frames_of(fields: dict[str, Raw], content: Sequence[Raw]) -> Iterator[dict[str, Any]]:
    ending = {name: fields[name] for name in ("stop_reason", "stop_sequence") if name in fields}
    begun: dict[str, Any] = {**fields, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": begun}
    for index, raw in enumerate(content):
        block: dict[str, Any] = {**_fields_of(raw)}
        deltas = list(_deltas_of(_string_of(block["type"]), block))
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": ending, "usage": fields.get("usage")}
    yield {"type": "message_stop"}


def _deltas_of(kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a stream would say piece by piece; the block is left with how it begins."""
    match kind:
        case "text":
            yield {"type": "text_delta", "text": block.get("text", "")}
            for citation in _elements(block.get("citations", NULL)):
                yield {"type": "citations_delta", "citation": citation}
            block["text"] = ""
            if "citations" in block:
                block["citations"] = [] if bytes(block["citations"]) != b"null" else None
        case "thinking":
            yield {"type": "thinking_delta", "thinking": block.get("thinking", "")}
            yield {"type": "signature_delta", "signature": block.get("signature", "")}
            block |= {"thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            yield {"type": "input_json_delta", "partial_json": bytes(block.get("input", NO_INPUT)).decode()}
            block["input"] = NO_INPUT
        case _:
            return
