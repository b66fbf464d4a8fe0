"""The log as Anthropic's stream events: a pure fold.

A raw record of this shape gives its own event; any other record gives what its events say, in any number of frames.
Only choice 0 is shown. Blocks are numbered as they begin, or by the index that a raw frame gives them. An item that is
still open at the end is closed. What `redacted_thinking` holds is said with its beginning, so it waits for its end.
"""

from __future__ import annotations

import re
from typing import Any, assert_never

import msgspec
from msgspec import Raw

from headrace.dialects.anthropic_messages.errors import error_body
from headrace.dialects.anthropic_messages.wire import NAME, PREFIX, stop_reason_of, usage_block
from headrace.events import (
    TERMINAL,
    ArgsDelta,
    Attrs,
    Cancelled,
    ChoiceEnd,
    Event,
    Failed,
    Finished,
    ItemEnd,
    ItemStart,
    ObjectValue,
    Record,
    Signature,
    Status,
    StepEnd,
    StepStart,
    StreamStart,
    TextDelta,
    ToolResult,
    Usage,
)

_encode = msgspec.json.encode
_EVENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DELTA = "content_block_delta"
# The field that an item's pieces stand in, and its delta's type.
_TEXT = (b"text_delta", b"text")
_THINKING = (b"thinking_delta", b"thinking")
_INPUT = (b"input_json_delta", b"partial_json")
_PIECES = {"text": _TEXT, "refusal": _TEXT, "reasoning": _THINKING, "tool_call": _INPUT, "data": _INPUT}


class _DeltaFrame(msgspec.Struct, gc=False):
    """The frame of nearly every record: one piece of text, thinking or input."""

    opening: bytes
    """Everything up to the piece: constant for a block."""
    text: str


class _EventFrame(msgspec.Struct, gc=False):
    """Any other event of ours."""

    name: str
    data: bytes


class _RawFrame(msgspec.Struct, gc=False):
    """An event of the upstream's, as it came; `top` replaces what it says of the message."""

    name: str | None
    raw: Raw
    top: dict[str, str]


class _Outline(msgspec.Struct):
    """What the fold must know of a raw event."""

    type: Any = None
    index: Any = None


_outline = msgspec.json.Decoder(_Outline).decode
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
Frame = _DeltaFrame | _EventFrame | _RawFrame


class _Block:
    """What the view must know of an open item."""

    __slots__ = ("index", "kind", "opening", "redacted", "signature")

    def __init__(self, start: ItemStart) -> None:
        self.kind = start.kind
        self.redacted = start.kind == "reasoning" and start.name == "redacted"
        self.signature = ""
        self.index: int | None = None
        """None until it is shown."""
        self.opening = b""

    def show(self, index: int) -> None:
        """Give it its place among the blocks."""
        self.index = index
        kind, field = _PIECES[self.kind]
        self.opening = b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":' % (index, kind, field)


class MessagesView:
    """One fold of the log. A delta of an item that never began says nothing."""

    __slots__ = (
        "_blocks",
        "_delta_shown",
        "_input_tokens",
        "_next",
        "_opened",
        "_raw_is_ours",
        "_reason",
        "_stop_shown",
        "_top",
        "_usage",
    )

    plain = False

    def __init__(self) -> None:
        self._top: dict[str, str] = {}
        self._input_tokens = 0
        self._opened = False
        """Whether `message_start` was shown; likewise the two others."""
        self._delta_shown = False
        self._stop_shown = False
        self._blocks: dict[int, _Block] = {}
        self._next = 0
        """Index of the next block."""
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._raw_is_ours = False
        """Whether raw records of this step are in this shape."""

    def fold(self, record: Record) -> list[Frame]:
        """Advance by one record: see `View.fold`."""
        events = record.events
        if record.raw is None and len(events) == 1:
            event = events[0]
            if type(event) is TextDelta:
                return self._piece(event.item, event.text, is_input=False)
            if type(event) is ArgsDelta:
                return self._piece(event.item, event.json, is_input=True)
        frames: list[Frame] = []
        if record.raw is not None and self._keeps(events):
            self._raw(record.raw, events, frames)
        else:
            for event in events:
                self._take(event, frames)
        return frames

    def _keeps(self, events: tuple[Event, ...]) -> bool:
        """Whether a raw frame beside these events is in this shape."""
        for event in events:
            if type(event) is StepStart:
                self._raw_is_ours = event.dialect == NAME
        return self._raw_is_ours

    def _raw(self, raw: Raw, events: tuple[Event, ...], frames: list[Frame]) -> None:
        """The record's own frame, in the place of what its events would give."""
        outline = _outline(raw)
        kind = outline.type if isinstance(outline.type, str) else ""
        index = outline.index if isinstance(outline.index, int) else None
        unseen: list[Frame] = []
        after: list[Frame] = []
        for event in events:
            if isinstance(event, ItemStart):
                self._begin(event, unseen, index)
            elif isinstance(event, StepStart) and kind != "message_start":
                self._take(event, frames)
            else:
                self._take(event, after if isinstance(event, TERMINAL) else unseen)
        self._opened |= kind == "message_start"
        self._delta_shown |= kind == "message_delta"
        self._stop_shown |= kind == "message_stop"
        frames += (_RawFrame(kind if _EVENT_NAME.fullmatch(kind) else None, raw, self._top), *after)

    def _take(self, event: Event, frames: list[Frame]) -> None:  # noqa: C901, PLR0912 - one flat table of events
        match event:
            case TextDelta():
                frames += self._piece(event.item, event.text, is_input=False)
            case ArgsDelta():
                frames += self._piece(event.item, event.json, is_input=True)
            case ItemStart():
                self._begin(event, frames)
            case Signature():
                self._sign(event, frames)
            case ItemEnd():
                self._end(event.item, frames)
            case ChoiceEnd():
                self._reason = event.reason if event.choice == 0 else self._reason
            case Usage():
                self._usage = event
            case StepStart():
                self._raw_is_ours = event.dialect == NAME
                self._usage = event.usage or self._usage
                self._open(frames)
            case StepEnd():
                self._usage = event.usage or self._usage
            case StreamStart():
                self._top = {"id": PREFIX + event.id, "model": event.model}
                self._input_tokens = event.input_tokens
            case Finished():
                self._finish(event, frames)
            case Failed() | Cancelled():
                frames.append(_EventFrame("error", _encode(error_body(event))))
            case Attrs() | ToolResult() | ObjectValue() | Status():
                pass  # the shape has no word for them
            case _:
                assert_never(event)

    def _open(self, frames: list[Frame]) -> None:
        """`message_start`, once."""
        if self._opened:
            return
        self._opened = True
        usage = self._usage or Usage(self._input_tokens, 0)
        message: dict[str, Any] = {
            "id": self._top["id"],
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._top["model"],
            "stop_reason": None,
            "stop_sequence": None,
            # Clients keep what the last event does not repeat: what only holds now is not said here.
            "usage": usage_block(usage, with_source=False),
        }
        frames.append(_EventFrame("message_start", _encode({"type": "message_start", "message": message})))

    def _begin(self, start: ItemStart, frames: list[Frame], index: int | None = None) -> None:
        """An item begins; `index` is its block's, where a raw frame said it."""
        if start.choice != 0 or start.kind not in _PIECES or (start.kind == "data" and index is None):
            return
        block = self._blocks[start.item] = _Block(start)
        if index is not None:
            block.show(index)
            self._next = max(self._next, index + 1)
            return
        content: dict[str, Any]
        match start.kind:
            case "tool_call":
                content = {"type": "tool_use", "id": start.call_id or "", "name": start.name or "", "input": {}}
            case "reasoning":
                if block.redacted:
                    return
                content = {"type": "thinking", "thinking": "", "signature": ""}
            case _:
                content = {"type": "text", "text": ""}
        self._show(block, content, frames)

    def _show(self, block: _Block, content: dict[str, Any], frames: list[Frame]) -> None:
        self._open(frames)
        block.show(self._next)
        self._next += 1
        data = _encode({"type": "content_block_start", "index": block.index, "content_block": content})
        frames.append(_EventFrame("content_block_start", data))

    def _piece(self, item: int, text: str, *, is_input: bool) -> list[Frame]:
        block = self._blocks.get(item)
        if block is None or not text or not block.opening or (_PIECES[block.kind] is _INPUT) is not is_input:
            return []
        return [_DeltaFrame(block.opening, text)]

    def _sign(self, event: Signature, frames: list[Frame]) -> None:
        block = self._blocks.get(event.item)
        if block is None or block.kind != "reasoning":
            return
        block.signature = event.data
        if block.index is not None and not block.redacted:
            delta = {"type": "signature_delta", "signature": event.data}
            frames.append(_EventFrame(_DELTA, _encode({"type": _DELTA, "index": block.index, "delta": delta})))

    def _end(self, item: int, frames: list[Frame]) -> None:
        block = self._blocks.pop(item, None)
        if block is None or (block.index is None and not block.signature):
            return
        if block.index is None:
            self._show(block, {"type": "redacted_thinking", "data": block.signature}, frames)
        frames.append(
            _EventFrame("content_block_stop", b'{"type":"content_block_stop","index":%d}' % (block.index or 0))
        )

    def _finish(self, event: Finished, frames: list[Frame]) -> None:
        self._open(frames)
        for item in tuple(self._blocks):
            self._end(item, frames)
        if not self._delta_shown:
            delta = {"stop_reason": stop_reason_of(self._reason or event.reason), "stop_sequence": None}
            usage = usage_block(self._usage or Usage(self._input_tokens, 0, source="estimated"))
            data = _encode({"type": "message_delta", "delta": delta, "usage": usage})
            frames.append(_EventFrame("message_delta", data))
        if not self._stop_shown:
            frames.append(_EventFrame("message_stop", b'{"type":"message_stop"}'))

    def encode(self, frame: Frame) -> bytes:
        """The frame's data: see `View.encode`."""
        if type(frame) is _DeltaFrame:
            return b"%b%b}}" % (frame.opening, _encode(frame.text))
        return _render_raw(frame) if type(frame) is _RawFrame else frame.data  # pyright: ignore

    def size(self, frame: Frame) -> int:
        """Every frame counts one."""
        return 1

    def event(self, frame: Frame) -> str | None:
        """The event's type, which official clients read from here; None where it is not a possible name."""
        return _DELTA if type(frame) is _DeltaFrame else frame.name  # pyright: ignore


def _render_raw(frame: _RawFrame) -> bytes:
    if frame.name != "message_start":
        return bytes(frame.raw)
    fields: dict[str, Any] = {**_fields_of(frame.raw)}
    fields["message"] = {**_fields_of(fields["message"]), **frame.top}
    return _encode(fields)
