"""Items of an upstream's output while they grow, and which items of the log they are.

An item of the log is a part of a message, all of what the model thought before it went on, or a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from msgspec import Raw

from headrace.dialects.openai_responses import wire
from headrace.dialects.openai_responses.wire import RawFrame
from headrace.errors import UpstreamProtocol
from headrace.events import ArgsDelta, Event, ItemEnd, ItemKind, ItemStart, Signature, TextDelta

_PARTS: dict[str, ItemKind] = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "reasoning",
    "summary_text": "reasoning",
}
_KINDS: dict[str, ItemKind] = {
    "response.output_text.delta": "text",
    "response.output_text.done": "text",
    "response.refusal.delta": "refusal",
    "response.refusal.done": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_text.done": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_summary_text.done": "reasoning",
    "response.function_call_arguments.delta": "tool_call",
    "response.function_call_arguments.done": "tool_call",
}
"""Frames with text, by type."""
_DELTAS: dict[type[wire.DeltaFrame], ItemKind] = {
    wire.TextFrame: "text",
    wire.RefusalFrame: "refusal",
    wire.ThoughtFrame: "reasoning",
    wire.SummaryFrame: "reasoning",
    wire.ArgumentsFrame: "tool_call",
}


_Place = tuple[bool, int]
"""Whether it is a summary, and which part of its item."""


class _Part:
    """What one item of the log is upstream, and where the last frame that named it has put it."""

    __slots__ = ("ended", "heard", "item", "kind", "place")

    def __init__(self, item: int, kind: ItemKind) -> None:
        self.item = item
        self.kind: ItemKind = kind
        self.place: _Place | None = None
        self.heard = False
        """Whether anything was said in it."""
        self.ended = False


class _Item:
    """An item of the output that has begun."""

    __slots__ = ("id", "parts")

    def __init__(self, frame: RawFrame) -> None:
        self.id = _string(frame.item or {}, "id") or frame.item_id
        self.parts: dict[int, _Part] = {}
        """By index; a call is one under 0, and so is reasoning however many parts it has."""


class OpenItems:
    """What is open; every method adds the events of one frame."""

    __slots__ = ("begun", "called", "open")

    def __init__(self) -> None:
        self.begun = 0
        """Items of the log so far."""
        self.called = False
        """Whether a function was called."""
        self.open: dict[int, _Item] = {}
        """By `output_index`."""

    def more(self, frame: wire.AnyDelta) -> Event | None:
        """The frame of nearly every token: more of a part that is open, where a frame before has named its place."""
        item = self.open.get(frame.output_index)
        if item is None or item.id != frame.item_id or not frame.delta:
            return None
        kind = _DELTAS[type(frame)]
        is_summary = type(frame) is wire.SummaryFrame
        index = frame.summary_index if type(frame) is wire.SummaryFrame else getattr(frame, "content_index", 0)
        part = item.parts.get(0 if kind == "reasoning" else index)
        if part is None or part.kind != kind or part.place != (is_summary, index):
            return None
        part.heard = True
        if kind == "tool_call":
            return ArgsDelta(part.item, frame.delta)
        return TextDelta(part.item, frame.delta, _logprobs(frame.logprobs) if type(frame) is wire.TextFrame else None)

    def begin_item(self, frame: RawFrame, events: list[Event]) -> None:
        """An item begins; one that is a message or a thought says nothing yet."""
        item = self.open[frame.output_index] = _Item(frame)
        said = frame.item or {}
        match _string(said, "type"):
            case "message" | "reasoning" | "":
                pass  # its parts begin on their own
            case "function_call":
                name, call_id = _string(said, "name") or None, _string(said, "call_id") or None
                self._begin(item, 0, "tool_call", events, name, call_id).place = (False, 0)
            case kind:
                self._begin(item, 0, "data", events, kind)

    def _begin(
        self,
        item: _Item,
        key: int,
        kind: ItemKind,
        events: list[Event],
        name: str | None = None,
        call_id: str | None = None,
    ) -> _Part:
        part = item.parts[key] = _Part(self.begun, kind)
        self.begun += 1
        self.called |= kind == "tool_call"
        events.append(ItemStart(part.item, kind, 0, name, call_id))
        return part

    def begin_part(self, frame: RawFrame, events: list[Event]) -> None:
        """A part of a message, or a paragraph of a thought."""
        kind = _PARTS.get(_string(frame.part or {}, "type"))
        if kind is None:
            return
        part = self._part(frame, kind, events)
        if part.place != _place(frame) and part.heard:  # a paragraph of its own
            events.append(TextDelta(part.item, "\n\n"))
            part.place = _place(frame)

    def _part(self, frame: RawFrame, kind: ItemKind, events: list[Event]) -> _Part:
        """The part that the frame is about; it begins where none did."""
        item = self.open.get(frame.output_index)
        if item is None:
            item = self.open[frame.output_index] = _Item(frame)
        key = 0 if kind == "reasoning" else frame.index
        part = item.parts.get(key)
        if part is None:
            part = self._begin(item, key, kind, events)
            part.place = _place(frame)
        return part

    def say(self, frame: RawFrame, events: list[Event]) -> None:
        """A delta that is told for the first time where it belongs, or says more than is modelled."""
        self._add(frame, _KINDS[frame.type], frame.delta, events)

    def _add(self, frame: RawFrame, kind: ItemKind, text: str, events: list[Event]) -> None:
        part = self._part(frame, kind, events)
        if not text or part.ended or part.kind != kind:
            return
        part.place = _place(frame)
        part.heard = True
        events.append(ArgsDelta(part.item, text) if kind == "tool_call" else TextDelta(part.item, text))

    def say_at_once(self, frame: RawFrame, events: list[Event]) -> None:
        """The whole text of a part, which counts where no delta came."""
        kind = _KINDS[frame.type]
        part = self._part(frame, kind, events)
        text = frame.arguments if kind == "tool_call" else frame.refusal if kind == "refusal" else frame.text
        if not part.heard:
            self._add(frame, kind, text or "", events)

    def end_part(self, frame: RawFrame, events: list[Event]) -> None:
        """A part of a message is whole, or a paragraph of a thought, which itself ends with its item."""
        item = self.open.get(frame.output_index)
        if item is None:
            return
        thought, part = item.parts.get(0), item.parts.get(frame.index)
        if thought is not None and thought.kind == "reasoning":
            thought.place = None
        elif part is not None:
            self._end(part, events)

    @staticmethod
    def _end(part: _Part, events: list[Event]) -> None:
        if not part.ended:
            part.ended, part.place = True, None
            events.append(ItemEnd(part.item))

    def end_item(self, frame: RawFrame, events: list[Event]) -> None:
        """An item is whole: what no frame before said is said now, and what is open ends."""
        if frame.output_index not in self.open:
            self.begin_item(frame, events)
        item, said = self.open[frame.output_index], frame.item or {}
        match said.get("type"):
            case "function_call":
                self._fill(item.parts.get(0), _string(said, "arguments"), events)
            case "reasoning":
                self._fill_thought(item, said, events)
            case "message":
                for key, each in enumerate(_objects(said, "content")):
                    kind = _PARTS.get(_string(each, "type"))
                    if kind is not None and key not in item.parts:
                        part = self._begin(item, key, kind, events)
                        self._fill(part, _string(each, "text") or _string(each, "refusal"), events)
            case _:
                pass  # the model server's own tool
        self.close(frame.output_index, events)

    def _fill_thought(self, item: _Item, said: dict[str, Any], events: list[Event]) -> None:
        texts = [_string(each, "text") for each in _objects(said, "content") or _objects(said, "summary")]
        if texts and not item.parts:
            self._fill(self._begin(item, 0, "reasoning", events), "\n\n".join(texts), events)
        if signature := _string(said, "encrypted_content"):
            part = item.parts.get(0) or self._begin(item, 0, "reasoning", events, "redacted")
            events.append(Signature(part.item, signature))

    @staticmethod
    def _fill(part: _Part | None, text: str, events: list[Event]) -> None:
        """All of a part at once: there are servers that send no deltas."""
        if part is not None and text and not part.heard:
            part.heard = True
            events.append(ArgsDelta(part.item, text) if part.kind == "tool_call" else TextDelta(part.item, text))

    def close(self, index: int, events: list[Event]) -> None:
        """Nothing more comes of an item."""
        for part in self.open.pop(index).parts.values():
            self._end(part, events)


Read = Callable[[OpenItems, RawFrame, list[Event]], None]
READERS: Final[dict[str, Read]] = {
    "response.output_item.added": OpenItems.begin_item,
    "response.content_part.added": OpenItems.begin_part,
    "response.reasoning_summary_part.added": OpenItems.begin_part,
    "response.content_part.done": OpenItems.end_part,
    "response.reasoning_summary_part.done": OpenItems.end_part,
    "response.output_item.done": OpenItems.end_item,
    **{kind: OpenItems.say if kind.endswith(".delta") else OpenItems.say_at_once for kind in _KINDS},
}
"""By a frame's type; all others say nothing that events have a word for."""


def _string(fields: dict[str, Any], name: str) -> str:
    """A field's text; none where it is anything else."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _objects(fields: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of a list; none where it is anything else."""
    value = fields.get(name)
    elements = cast("list[Any]", value) if isinstance(value, list) else []
    return [each if isinstance(each, dict) else {} for each in elements]


def _place(frame: RawFrame) -> _Place:
    return frame.summary_index is not None, frame.index


def _logprobs(tokens: Raw) -> Raw | None:
    """A copy of them in the form of chat completions, the one that the log has; None where there are none.

    Raises:
        UpstreamProtocol: they are not UTF-8; msgspec checks that only in strings that it reads.
    """
    data = bytes(tokens)
    if data in (b"null", b"[]"):
        return None
    try:
        data.decode()
    except UnicodeDecodeError as problem:
        raise UpstreamProtocol(f"The model server sent logprobs that are not UTF-8 ({problem}).") from problem
    return Raw(b'{"content":%b,"refusal":null}' % data)
