"""The text of an answer that broke off, and the events of another answer that goes on with it: both as one answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Chunk,
    Event,
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
    Usage,
)
from headrace.transforms.accumulator import Accumulator

CONTINUED = "continued"
"""Code of the status that stands at the seam."""


class Draft:
    """What a log holds of an answer that may go on. Feed its records in order."""

    def __init__(self) -> None:
        self.whole = Accumulator()
        self.start: StreamStart | None = None
        self.step: StepStart | None = None
        """The last round that began."""
        self.continued = 0
        """How often it has been continued."""
        self.retries = 0
        self.open: int | None = None
        """The text item that goes on."""
        self.next_item = 0
        self._texts: dict[int, list[str]] = {}
        self._other = False
        """Whether there is something that no text continues."""
        self._last: ItemStart | None = None

    def feed(self, records: Iterable[Record]) -> None:
        """Take records, in order."""
        for record in records:
            self.whole.feed((record,))
            for event in record.events:
                self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._say(event)
            case ItemStart():
                self._begin(event)
            case ItemEnd():
                self.open = None if event.item == self.open else self.open
            case StreamStart():
                self.start = event
            case StepStart():
                self.step = event
            case Status():
                self.continued += event.code == CONTINUED
                self.retries += event.code == "retrying"
            case ChoiceEnd() | StepEnd():
                self._other = True  # it was over, but for its marker
            case _:
                pass

    def _begin(self, start: ItemStart) -> None:
        self.next_item = max(self.next_item, start.item + 1)
        self._last = start
        if start.kind == "text" and start.choice == 0:
            self._texts[start.item] = []
            self.open = start.item
        elif start.kind != "reasoning" or start.choice != 0:
            self._other = True

    def _say(self, delta: TextDelta) -> None:
        pieces = self._texts.get(delta.item)
        if pieces is not None:
            pieces.append(delta.text)

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(piece for pieces in self._texts.values() for piece in pieces)

    @property
    def silent(self) -> bool:
        """Whether the model has said nothing: its answer can begin once more, whatever it will be."""
        return not self._other and (self._last is None or (self._last.kind == "text" and not self.text.strip()))

    @property
    def textual(self) -> bool:
        """Whether it is text that another answer can go on with: no call, no refusal, one alternative, no end."""
        return not self._other and self._last is not None and self._last.kind == "text" and bool(self.text.strip())

    @property
    def usage(self) -> Usage:
        """What it took so far."""
        known = self.whole.usage or Usage(self.start.input_tokens if self.start else 0, 0)
        output = max(known.output, self.whole.estimated_output_tokens())
        return msgspec.structs.replace(known, output=output, source="partial")


class Seam:
    """Events of the answer that goes on, as events of the log: they continue its item, its numbers and its counts.

    Raw frames are left out: they have the numbers, and the beginning, of an answer of their own.
    """

    def __init__(self, draft: Draft) -> None:
        """After what the draft holds; it is not changed."""
        self.begun = False
        """Whether anything has come."""
        self._open = draft.open
        self._next = draft.next_item
        self._before = draft.usage
        self._items: dict[int, int] = {}
        text = draft.text
        self._space = text[len(text.rstrip()) :]
        """What the text ends with and the model server was not shown; it may say it once more."""

    def joined(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The chunks in the numbers of the log; those that say nothing are left out."""
        self.begun = True
        made = (Chunk(tuple(self._events(chunk))) for chunk in chunks)
        return [chunk for chunk in made if chunk.events]

    def _events(self, chunk: Chunk) -> Iterable[Event]:
        for event in chunk.events:
            match event:
                case ItemStart():
                    yield from self._begin(event)
                case TextDelta():
                    yield from self._text(event)
                case ItemEnd() | ArgsDelta() | Signature() | ObjectValue():
                    yield msgspec.structs.replace(event, item=self._items.get(event.item, event.item))
                case StepStart() | StepEnd():
                    yield msgspec.structs.replace(event, usage=self._sum(event.usage))
                case Usage():
                    yield self._sum(event) or event
                case _:
                    yield event

    def _begin(self, start: ItemStart) -> Iterable[Event]:
        goes_on, self._open = self._open, None
        if goes_on is not None:
            if start.kind == "text" and start.choice == 0:
                self._items[start.item] = goes_on
                return
            self._space = ""
            yield ItemEnd(goes_on)
        self._items[start.item] = self._next
        self._next += 1
        yield msgspec.structs.replace(start, item=self._items[start.item])

    def _text(self, delta: TextDelta) -> Iterable[Event]:
        text = delta.text
        if self._space:
            same = 0
            while same < min(len(text), len(self._space)) and text[same] == self._space[same]:
                same += 1
            text = text[same:]
            self._space = "" if text else self._space[same:]
            if not text and delta.text:
                return
        yield TextDelta(self._items.get(delta.item, delta.item), text, delta.logprobs)

    def _sum(self, usage: Usage | None) -> Usage | None:
        """Both answers were written, and both prompts were read."""
        if usage is None:
            return None
        before = self._before
        return Usage(
            input=before.input + usage.input,
            output=before.output + usage.output,
            cached=before.cached + usage.cached,
            reasoning=before.reasoning + usage.reasoning,
            source="estimated",
            cache_write=before.cache_write + usage.cache_write,
        )
