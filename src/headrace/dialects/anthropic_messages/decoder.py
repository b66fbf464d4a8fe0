"""Anthropic's stream events to ours.

An event keeps its raw JSON unless ours say all of it: only deltas and stops of a usual form do. Every content block is
an item. The input that a `tool_use` block begins with counts where no fragment of it follows.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.anthropic_messages import wire
from headrace.dialects.anthropic_messages.wire import NAME
from headrace.dialects.base import one_line
from headrace.dialects.upstream_errors import error_said
from headrace.errors import HeadraceError, UpstreamProtocol
from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Chunk,
    Event,
    ItemEnd,
    ItemKind,
    ItemStart,
    Signature,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)

_strict = msgspec.json.Decoder(wire.BlockDelta | wire.BlockStop | wire.MessageStop | wire.Ping).decode
_indexed = msgspec.json.Decoder(wire.Indexed).decode
_typed = msgspec.json.Decoder(wire.Typed).decode
_message_start = msgspec.json.Decoder(wire.MessageStart).decode
_message_delta = msgspec.json.Decoder(wire.MessageDelta).decode
_block_start = msgspec.json.Decoder(wire.BlockStart).decode
_block = msgspec.json.Decoder(wire.Block).decode
_loose_delta = msgspec.json.Decoder(wire.LooseDelta).decode
_loose_piece = msgspec.json.Decoder(wire.LoosePiece).decode
_KINDS: dict[str, ItemKind] = {
    "text": "text",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "tool_call",
}


class _Open:
    """A block that may still grow."""

    __slots__ = ("input", "item", "kind")

    def __init__(self, item: int, kind: ItemKind, input_json: str = "") -> None:
        self.item = item
        self.kind = kind
        self.input = input_json
        """What a tool's input is if no fragment of it comes."""


class MessagesDecoder:
    """Frames of one upstream answer; `closed` after `message_stop`."""

    __slots__ = ("_begun", "_blocks", "_finish", "_items", "_model", "_provider", "_usage", "closed")

    def __init__(self, provider: str, model: str) -> None:
        """`model` is used until the upstream names its own."""
        self._provider = provider
        self._model = model
        self._begun = False
        self._items = 0
        self._blocks: dict[int, _Open] = {}
        self._usage: Usage | None = None
        self._finish = "unknown"
        self.closed = False

    def feed(self, data: bytes) -> Chunk | None:
        """Decode one frame's data: see `Decoder.feed`."""
        if self.closed:
            return None
        try:
            frame = _strict(data)
        except NOT_JSON:
            return self._read(one_line(data))
        if type(frame) is wire.BlockDelta:
            return self._delta(frame.index, frame.delta, data)
        if type(frame) is wire.BlockStop:
            return self._block_stop(frame.index, data)
        return self._message_stop(None) if type(frame) is wire.MessageStop else None

    def _read(self, data: bytes) -> Chunk | None:  # noqa: C901 - one flat table of events
        """Read an event that ours do not say in full."""
        kind = _type_of(data)
        try:
            match kind:
                case "message_start":
                    return self._message_start(_message_start(data).message, data)
                case "content_block_start":
                    return self._block_start(_block_start(data), data)
                case "content_block_delta":
                    delta = _loose_delta(data)
                    return self._delta(delta.index, _piece(delta.delta), data, whole=False)
                case "content_block_stop":
                    return self._block_stop(_indexed(data).index, data, whole=False)
                case "message_delta":
                    return self._message_delta(_message_delta(data), data)
                case "message_stop":
                    return self._message_stop(_kept(data))
                case "ping":
                    return None
                case _:
                    return Chunk(tuple(self._opening()), _kept(data))
        except NOT_JSON as problem:
            raise _not_an_event(problem) from problem

    def _opening(self, message: wire.Message | None = None) -> list[Event]:
        """What goes before the events of the first frame."""
        if self._begun:
            return []
        self._begun = True
        message = message or wire.Message()
        return [StepStart(self._provider, message.model or self._model, NAME, message.id, self._usage)]

    def _message_start(self, message: wire.Message, data: bytes) -> Chunk:
        if message.usage is not None:
            self._usage = wire.merged_usage(self._usage, message.usage)
        return Chunk(tuple(self._opening(message)), _kept(data))

    def _block_start(self, frame: wire.BlockStart, data: bytes) -> Chunk:
        events = self._opening()
        self._end(frame.index, events)  # a server that forgot to
        kind = _type_of(bytes(frame.content_block))
        if kind not in _KINDS:
            self._begin(frame.index, ItemStart(self._items, "data", name=kind), events)
            return Chunk(tuple(events), _kept(data))
        block = _block(frame.content_block)
        item = self._items
        if kind == "tool_use":
            known = self._begin(frame.index, ItemStart(item, "tool_call", name=block.name, call_id=block.id), events)
            known.input = (bytes(block.input) if bytes(block.input) != b"null" else b"{}").decode()
            return Chunk(tuple(events), _kept(data))
        name = "redacted" if kind == "redacted_thinking" else None
        self._begin(frame.index, ItemStart(item, _KINDS[kind], name=name), events)
        if text := (block.text if kind == "text" else block.thinking):
            events.append(TextDelta(item, text))
        if signature := (block.signature or block.data):
            events.append(Signature(item, signature))
        return Chunk(tuple(events), _kept(data))

    def _begin(self, index: int, start: ItemStart, events: list[Event]) -> _Open:
        self._items += 1
        known = self._blocks[index] = _Open(start.item, start.kind)
        events.append(start)
        return known

    def _delta(self, index: int, piece: wire.Piece | None, data: bytes, *, whole: bool = True) -> Chunk:
        """`whole` says whether the piece is all that the frame says."""
        known = self._blocks.get(index)
        if known is not None and piece is not None and whole and known.kind in piece.kinds:
            event = _said(piece, known)
            if event is not None:
                return Chunk((event,))
        events = self._opening()
        if piece is not None:
            if known is None:  # a server that did not say that the block begins
                known = self._begin(index, ItemStart(self._items, piece.kinds[0]), events)
            event = _said(piece, known)
            if event is not None:
                events.append(event)
        return Chunk(tuple(events), _kept(data))

    def _block_stop(self, index: int | None, data: bytes, *, whole: bool = True) -> Chunk:
        events = self._opening()
        before = len(events)
        self._end(index, events)
        plain = whole and not before and len(events) == 1
        return Chunk(tuple(events), None if plain else _kept(data))

    def _end(self, index: int | None, events: list[Event]) -> None:
        known = self._blocks.pop(index, None) if index is not None else None
        if known is None:
            return
        if known.input:
            events.append(ArgsDelta(known.item, known.input))
        events.append(ItemEnd(known.item))

    def _message_delta(self, frame: wire.MessageDelta, data: bytes) -> Chunk:
        events = self._opening()
        if frame.delta is not None and frame.delta.stop_reason is not None:
            self._finish = wire.finish_of(frame.delta.stop_reason)
            events.append(ChoiceEnd(0, self._finish))
        if frame.usage is not None:
            self._usage = wire.merged_usage(self._usage, frame.usage)
            events.append(self._usage)
        return Chunk(tuple(events), _kept(data))

    def _message_stop(self, raw: Raw | None) -> Chunk:
        """The end: close what the upstream left open."""
        self.closed = True
        events = self._opening()
        for index in tuple(self._blocks):
            self._end(index, events)
        events.append(StepEnd(self._finish, self._usage))
        return Chunk(tuple(events), raw)


def _said(piece: wire.Piece, known: _Open) -> Event | None:
    """What a piece says of its block, if anything."""
    match piece:
        case wire.TextPiece():
            return TextDelta(known.item, piece.text) if piece.text else None
        case wire.ThinkingPiece():
            return TextDelta(known.item, piece.thinking) if piece.thinking else None
        case wire.SignaturePiece():
            return Signature(known.item, piece.signature)
        case wire.InputPiece():
            if not piece.partial_json:
                return None
            known.input = ""
            return ArgsDelta(known.item, piece.partial_json)


def _piece(delta: Raw) -> wire.Piece | None:
    """A delta with fields that we do not know; None for one of a type that we do not know."""
    try:
        return _loose_piece(delta)
    except NOT_JSON:
        return None


def _kept(data: bytes) -> Raw:
    """The frame's own JSON, without white space around it, which a store that reads and writes it would drop."""
    return Raw(one_line(data).strip())


def _type_of(data: bytes) -> str:
    """The event's, or the block's, type.

    Raises:
        HeadraceError: it is an error.
        UpstreamProtocol: it has none.
    """
    try:
        data.decode()  # msgspec looks only at the strings that it reads
        kind = _typed(data).type
    except NOT_JSON as problem:
        raise _error_in(data) or _not_an_event(problem) from problem
    if kind in ("", "error"):
        raise _error_in(data) or UpstreamProtocol("The model server sent an event without a type.")
    return kind


def _error_in(data: bytes) -> HeadraceError | None:
    """The error that the frame is, whatever else is wrong with it."""
    try:
        frame = msgspec.json.decode(data, type=dict[str, Any])
    except NOT_JSON:
        return None
    error = frame.get("error")
    if error is None:
        return error_said(frame, frame) if frame.get("type") == "error" else None
    return error_said(error, frame)


def _not_an_event(problem: Exception) -> UpstreamProtocol:
    what = "an event of Anthropic's Messages" if isinstance(problem, msgspec.ValidationError) else "JSON"
    return UpstreamProtocol(f"The model server sent a frame that is not {what}: {problem}.")
