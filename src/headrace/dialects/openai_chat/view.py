"""The log as chat completion chunks: a pure fold.

One record gives at most one chunk, and a terminal record the frames that end the stream. A frame remembers the `head`
and `tail` bytes that were current when it was folded, so encoding later, or not at all, changes nothing.

A raw record gives its own chunk. One exists only because Headrace asks every upstream for its usage: the chunk with
the usage and no choice. A caller who did not ask does not get it, as without Headrace.
"""

from __future__ import annotations

from typing import Any, assert_never, cast

import msgspec
from msgspec import Raw

from headrace.dialects.openai_chat.decoder import DONE, NAME
from headrace.dialects.openai_chat.wire import NULL, joined_logprobs
from headrace.dialects.openai_errors import error_object
from headrace.events import (
    ArgsDelta,
    Attrs,
    Cancelled,
    ChoiceEnd,
    Event,
    Failed,
    Finished,
    ItemEnd,
    ItemKind,
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

PREFIX = "chatcmpl-"
INCLUDE_USAGE = "u"
REASONING = ("reasoning_content", "reasoning")
"""Vendors' two names for one thing; the first where a log has no name."""
_OWN_FIELDS = frozenset({"role", "content", "refusal", "tool_calls", "logprobs", "finish_reason"})
"""What no vendor's name for reasoning may stand for while a chunk is put together."""
_encode = msgspec.json.encode


class _TextFrame(msgspec.Struct, gc=False):
    """The frame of nearly every record: one piece of text for one choice."""

    opening: bytes
    """Everything up to the delta's value: constant for an item until an attribute changes."""
    text: str
    ending: bytes


class _ChunkFrame(msgspec.Struct, gc=False):
    """Any other chunk."""

    head: bytes
    choices: list[dict[str, Any]]
    tail: bytes


class _RawFrame(msgspec.Struct, gc=False):
    """A chunk with fields that are not modelled, as it came; `top` replaces ours."""

    raw: Raw
    top: dict[str, Any]
    drop_usage: bool


class _RawDelta(msgspec.Struct):
    role: str | None = None


class _RawChoice(msgspec.Struct):
    index: int = 0
    delta: _RawDelta | None = None


class _RawOutline(msgspec.Struct):
    """What the fold must know of a raw chunk."""

    choices: list[_RawChoice] | None = None
    usage: Raw = NULL


_outline = msgspec.json.Decoder(_RawOutline).decode
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
Frame = _TextFrame | _ChunkFrame | _RawFrame | bytes


class _Item:
    """What the view must know of an open item."""

    __slots__ = ("choice", "head", "index", "key", "opening")

    def __init__(self, start: ItemStart, index: int | None) -> None:
        self.choice = start.choice
        self.index = index
        """Position of a tool call among its choice's calls; None for all else."""
        self.key = text_key(start.kind, start.name)
        self.head: bytes | None = None
        """What `opening` begins with."""
        self.opening = b""


def text_key(kind: ItemKind, name: str | None) -> str:
    """The field that an item's text stands in; empty where the shape has none."""
    if kind == "reasoning":
        if name == "redacted":  # it has no text
            return ""
        return name if name and name not in _OWN_FIELDS else REASONING[0]
    return {"text": "content", "refusal": "refusal"}.get(kind, "")


class ChatView:
    """One fold of the log; `include_usage` is its only parameter. A delta of an item that never began says nothing."""

    __slots__ = (
        "_attrs",
        "_calls",
        "_head",
        "_include_usage",
        "_items",
        "_opening",
        "_raw_is_ours",
        "_tail",
        "_top",
        "_usage",
        "_usage_shown",
        "_with_role",
    )

    plain = True

    def __init__(self, params: str) -> None:
        self._include_usage = INCLUDE_USAGE in params
        self._top: dict[str, Any] = {}
        self._head = b""
        self._tail = b""
        self._attrs: dict[str, Any] = {}
        self._items: dict[int, _Item] = {}
        self._calls: dict[int, int] = {}
        self._with_role: set[int] = set()
        self._usage: Usage | None = None
        self._usage_shown: Usage | None = None
        """The last one that a frame of the upstream has shown."""
        self._raw_is_ours = False
        """Whether raw records of this step are in this shape."""
        self._opening = False

    def fold(self, record: Record) -> list[Frame]:
        """Advance by one record: see `View.fold`."""
        events = record.events
        if len(events) == 1 and record.raw is None:
            event = events[0]
            if type(event) is TextDelta and event.logprobs is None:
                item = self._items.get(event.item)
                if item is not None and item.key and item.choice in self._with_role:
                    opening = item.opening if item.head is self._head else self._opening_of(item)
                    return [_TextFrame(opening, event.text, self._tail)]
        frames: list[Frame] = []
        deltas: dict[int, dict[str, Any]] = {}
        self._opening = False
        for event in events:
            self._take(event, deltas, frames)
        if record.raw is not None and self._raw_is_ours:
            self._with_role.difference_update(choice for choice, delta in deltas.items() if "role" in delta)
            raw = self._raw(record.raw)
            return [raw, *frames] if raw is not None else frames
        if self._opening and not self._with_role:
            self._delta(0, deltas)
        if deltas:
            choices = [_choice(index, delta) for index, delta in deltas.items()]
            frames.insert(0, _ChunkFrame(self._head, choices, self._tail))
        return frames

    def _opening_of(self, item: _Item) -> bytes:
        item.head = self._head
        item.opening = b'%s,"choices":[{"index":%d,"delta":{%s:' % (self._head, item.choice, _encode(item.key))
        return item.opening

    def _take(self, event: Event, deltas: dict[int, dict[str, Any]], frames: list[Frame]) -> None:  # noqa: C901, PLR0912
        """One event's part of the record's chunk; a flat table, one row an event."""
        match event:
            case TextDelta():
                self._text(event, deltas)
            case ArgsDelta():
                self._args(event, deltas)
            case ItemStart():
                self._begin(event, deltas)
            case ChoiceEnd():
                self._delta(event.choice, deltas)["finish_reason"] = event.reason
            case Usage():
                self._usage = event
            case Attrs():
                self._attrs.update(event.values)
                self._set_constants()
            case StepStart():
                self._usage = event.usage or self._usage
                self._opening = True
                self._raw_is_ours = event.dialect == NAME
            case StepEnd():
                self._usage = event.usage or self._usage
            case StreamStart():
                self._open(event)
            case Finished():
                frames.extend(self._finish())
            case Failed() | Cancelled():
                frames.append(_encode({"error": error_object(event)}))
            case ItemEnd() | Signature() | ToolResult() | ObjectValue() | Status():
                pass  # this shape has no word for them: docs/dialects.md
            case _:
                assert_never(event)

    def _open(self, start: StreamStart) -> None:
        self._top = {
            "id": PREFIX + start.id,
            "object": "chat.completion.chunk",
            "created": start.created,
            "model": start.model,
        }
        self._set_constants()

    def _set_constants(self) -> None:
        """Recompute the bytes around the choices."""
        self._head = _encode(self._top | self._attrs)[:-1]
        self._tail = b',"usage":null}' if self._include_usage else b"}"

    def _delta(self, choice: int, deltas: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """What the choice gains; texts are pieces, and calls are by their position, until `_choice` joins them."""
        delta = deltas.get(choice)
        if delta is None:
            delta = deltas[choice] = {}
            if choice not in self._with_role:
                self._with_role.add(choice)
                delta["role"] = "assistant"
        return delta

    def _begin(self, start: ItemStart, deltas: dict[int, dict[str, Any]]) -> None:
        index = self._calls.get(start.choice, 0) if start.kind == "tool_call" else None
        self._items[start.item] = _Item(start, index)
        if index is not None:
            self._calls[start.choice] = index + 1
            function = {"name": start.name, "arguments": list[str]()}
            call = {"index": index, "id": start.call_id, "type": "function", "function": function}
            self._delta(start.choice, deltas).setdefault("tool_calls", {})[index] = call
        elif start.kind == "text":
            self._delta(start.choice, deltas).setdefault("content", [])

    def _text(self, event: TextDelta, deltas: dict[int, dict[str, Any]]) -> None:
        item = self._items.get(event.item)
        if item is None or not item.key:
            return
        delta = self._delta(item.choice, deltas)
        delta.setdefault(item.key, []).append(event.text)
        if event.logprobs is not None:
            delta.setdefault("logprobs", []).append(event.logprobs)

    def _args(self, event: ArgsDelta, deltas: dict[int, dict[str, Any]]) -> None:
        item = self._items.get(event.item)
        if item is None or item.index is None:
            return
        calls: dict[int, dict[str, Any]] = self._delta(item.choice, deltas).setdefault("tool_calls", {})
        call = calls.setdefault(item.index, {"index": item.index, "function": {"arguments": list[str]()}})
        call["function"]["arguments"].append(event.json)

    def _raw(self, raw: Raw) -> _RawFrame | None:
        """The record's own frame; none when, without the usage nobody asked for, no choice is left in it."""
        outline = _outline(raw)
        choices = outline.choices or ()
        self._with_role.update(choice.index for choice in choices if choice.delta and choice.delta.role)
        if bytes(outline.usage) != b"null":
            if self._include_usage:
                self._usage_shown = self._usage
            elif not choices:
                return None
        return _RawFrame(raw, self._top, not self._include_usage)

    def _finish(self) -> list[Frame]:
        frames: list[Frame] = []
        if self._include_usage and self._usage is not None and self._usage != self._usage_shown:
            frames.append(_encode(self._top | self._attrs | {"choices": [], "usage": usage_block(self._usage)}))
        frames.append(DONE)
        return frames

    def encode(self, frame: Frame) -> bytes:
        """The frame's data: see `View.encode`."""
        if type(frame) is _TextFrame:
            return b"".join((frame.opening, _encode(frame.text), b'},"finish_reason":null}]', frame.ending))
        if type(frame) is _ChunkFrame:
            return b"".join((frame.head, b',"choices":', _encode(frame.choices), frame.tail))
        if type(frame) is _RawFrame:
            return _render_raw(frame)
        return frame  # pyright: ignore[reportReturnType]

    def size(self, frame: Frame) -> int:
        """Every frame counts one."""
        return 1

    def event(self, frame: Frame) -> str | None:
        """This shape has no event names."""
        return None


def _choice(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    pieces: list[Raw] | None = delta.pop("logprobs", None)
    finish: str | None = delta.pop("finish_reason", None)
    choice: dict[str, Any] = {"index": index, "delta": {name: _whole(value) for name, value in delta.items()}}
    if pieces:
        choice["logprobs"] = pieces[0] if len(pieces) == 1 else joined_logprobs(pieces)
    choice["finish_reason"] = finish
    return choice


def _whole(value: Any) -> Any:
    """Pieces as one string, calls as a list with their own pieces joined; anything else as it is."""
    match value:
        case list():
            return "".join(cast("list[str]", value))
        case dict():
            calls = list(cast("dict[int, dict[str, Any]]", value).values())
            for call in calls:
                call["function"]["arguments"] = "".join(call["function"]["arguments"])
            return calls
        case _:
            return value


def _render_raw(frame: _RawFrame) -> bytes:
    fields: dict[str, Any] = {**frame.top, **_fields_of(frame.raw)}
    for name in ("id", "created", "model"):
        fields[name] = frame.top[name]
    if frame.drop_usage:
        fields.pop("usage", None)
    return _encode(fields)


def usage_block(usage: Usage) -> dict[str, Any]:
    """Token counts in this shape; a count that the upstream did not give says so in `source` (P27)."""
    block: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
    if usage.cached:
        block["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning:
        block["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    if usage.source != "provider":
        block["source"] = usage.source
    return block


__all__ = ["INCLUDE_USAGE", "NAME", "PREFIX", "REASONING", "ChatView", "text_key", "usage_block"]
