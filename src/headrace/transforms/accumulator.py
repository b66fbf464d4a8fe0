"""Events to one answer, in linear time: pieces are kept in lists and joined once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from headrace.events import (
    Answer,
    AnswerChoice,
    AnswerItem,
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
    Terminal,
    TextDelta,
    ToolResult,
    Usage,
)
from headrace.transforms.estimate import output_tokens_of


class _Item:
    """An item while it grows."""

    __slots__ = ("logprobs", "pieces", "signature", "start")

    def __init__(self, start: ItemStart) -> None:
        self.start = start
        self.pieces: list[str] = []
        self.signature: str | None = None
        self.logprobs: list[msgspec.Raw] = []

    def said(self) -> str:
        """What the model wrote, the names of tools included."""
        name = self.start.name if self.start.kind == "tool_call" else None
        return (name or "") + "".join(self.pieces)

    def answer(self) -> AnswerItem:
        return AnswerItem(
            kind=self.start.kind,
            text="".join(self.pieces),
            name=self.start.name,
            call_id=self.start.call_id,
            signature=self.signature,
            logprobs=tuple(self.logprobs),
        )


class Accumulator:
    """Feed records in order, then ask for the `answer`; asking is allowed at any time and changes nothing.

    A delta of an item that never began says nothing.
    """

    def __init__(self) -> None:
        self._start: StreamStart | None = None
        self._items: dict[int, _Item] = {}
        self._finish: dict[int, str] = {}
        self._attrs: dict[str, Any] = {}
        self._raw: list[msgspec.Raw] = []
        self._raw_dialect = ""
        self.usage: Usage | None = None
        self.terminal: Terminal | None = None
        self._deltas = 0

    def feed(self, records: Iterable[Record]) -> None:
        """Take records, in order."""
        for record in records:
            for event in record.events:
                self._take(event)
            if record.raw is not None:
                self._raw.append(record.raw)
            self.terminal = record.terminal or self.terminal

    def _take(self, event: Event) -> None:  # noqa: C901, PLR0912 - one flat table of events
        match event:
            case TextDelta():
                self._add(event.item, event.text, event.logprobs)
            case ArgsDelta():
                self._add(event.item, event.json, None)
            case ItemStart():
                self._items[event.item] = _Item(event)
            case Signature():
                if item := self._items.get(event.item):
                    item.signature = event.data
            case ChoiceEnd():
                self._finish[event.choice] = event.reason
            case Usage():
                self.usage = event
            case Attrs():
                self._attrs.update(event.values)
            case StreamStart():
                self._start = event
            case StepStart():
                self._begin_step(event)
            case StepEnd():
                self.usage = event.usage or self.usage
            case ItemEnd() | ToolResult() | ObjectValue() | Status() | Finished() | Failed() | Cancelled():
                pass  # nothing that the answer holds; terminals come with their record
            case _:
                assert_never(event)

    def _add(self, number: int, piece: str, logprobs: msgspec.Raw | None) -> None:
        item = self._items.get(number)
        if item is None:
            return
        item.pieces.append(piece)
        self._deltas += 1
        if logprobs is not None:
            item.logprobs.append(logprobs)

    def _begin_step(self, step: StepStart) -> None:
        if step.dialect != self._raw_dialect:
            self._raw.clear()  # raw frames are all in one shape: an upstream of another one took over
        self._raw_dialect = step.dialect
        self.usage = step.usage or self.usage

    def estimated_output_tokens(self) -> int:
        """Output tokens of everything so far, where nobody counted them."""
        return output_tokens_of("".join(item.said() for item in self._items.values()), self._deltas)

    def answer(self) -> Answer:
        """What the records so far amount to. The first record must have been fed."""
        if self._start is None:
            raise ValueError("an answer needs record 0")
        return Answer(
            start=self._start,
            choices=self._choices(),
            usage=self.usage,
            attrs=dict(self._attrs),
            raw=tuple(self._raw),
            raw_dialect=self._raw_dialect,
            terminal=self.terminal,
        )

    def _choices(self) -> tuple[AnswerChoice, ...]:
        """Choice 0 is there as soon as another is: whoever reads "the first" means it."""
        items: dict[int, list[AnswerItem]] = {index: [] for index in self._finish}
        for item in self._items.values():
            items.setdefault(item.start.choice, []).append(item.answer())
        if items:
            items.setdefault(0, [])
        return tuple(AnswerChoice(index, tuple(items[index]), self._finish.get(index)) for index in sorted(items))
