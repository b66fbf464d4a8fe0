"""The log as Responses frames: a pure fold.

`sequence_number` is the frame's number, from 0. A model server's own frame is shown as it came, under our id and
number; its terminal one waits for the log's terminal record, so that nothing follows it. Only choice 0 is shown.
"""

from __future__ import annotations

from typing import Any, assert_never, cast

import msgspec
from msgspec import Raw

from headrace.dialects.openai_responses import response
from headrace.dialects.openai_responses.errors import error_frame
from headrace.dialects.openai_responses.output import (
    ARGUMENTS,
    REFUSAL,
    SUMMARY,
    TEXT,
    THOUGHT,
    WORDS,
    Fields,
    Named,
    OutputItem,
    Part,
    begun_item,
    token_logprobs,
)
from headrace.dialects.openai_responses.wire import ENDS, NAME, RawFrame, read_frame
from headrace.events import (
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

CREATED = "response.created"
_encode = msgspec.json.encode
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


class _DeltaFrame(msgspec.Struct, gc=False):
    """The frame of nearly every record: more of one part, of which it takes only what never changes."""

    part: Part
    number: int
    text: str


class _OtherFrame(msgspec.Struct, gc=False):
    """Any other frame; `fields` says its type and number too where they have their place."""

    type: str
    number: int
    fields: Fields


Frame = _DeltaFrame | _OtherFrame


class ResponsesView:
    """One fold of the log; it has no parameters. A delta of an item that never began says nothing."""

    __slots__ = (
        "_created",
        "_cut_short",
        "_held",
        "_next",
        "_number",
        "_output",
        "_parts",
        "_raw_is_ours",
        "_start",
        "_usage",
    )

    plain = False

    def __init__(self) -> None:
        self._start = StreamStart("", "", 0, "", "")
        self._number = 0
        self._cut_short = False
        """Whether the limit of tokens ends the answer in this record: then what ends in it is not whole."""
        self._created = False
        self._output: dict[int, OutputItem] = {}
        """By `output_index`."""
        self._next = 0
        """The `output_index` of the next item of ours."""
        self._parts: dict[int, Part] = {}
        """Where an item of the log goes on."""
        self._usage: Usage | None = None
        self._raw_is_ours = False
        """Whether raw records of this step are in this shape."""
        self._held: tuple[str, dict[str, Raw]] | None = None
        """The terminal frame of the model server."""

    def fold(self, record: Record) -> list[Any]:
        """Advance by one record: see `View.fold`."""
        events = record.events
        if len(events) == 1 and record.raw is None:
            event = events[0]
            if type(event) is TextDelta and event.logprobs is None:
                part = self._parts.get(event.item)
                if part is not None and part.begun and part.open:
                    part.pieces.append(event.text)
                    self._number += 1
                    return [_DeltaFrame(part, self._number - 1, event.text)]
        for event in events:
            if type(event) is StepStart:
                self._raw_is_ours = event.dialect == NAME
                self._held = None
        if record.raw is not None and self._raw_is_ours:
            return self._raw(record, record.raw)
        self._cut_short = any(type(event) is ChoiceEnd and event.reason == "length" for event in events)
        frames: list[Frame] = []
        for event in events:
            self._take(event, frames)
        return frames

    def _take(self, event: Event, frames: list[Frame]) -> None:
        """One event's frames; a flat table, one row an event."""
        match event:
            case TextDelta():
                self._text(event, frames)
            case ArgsDelta():
                self._args(event, frames)
            case ItemStart():
                self._begin(event, frames)
            case ItemEnd():
                self._end_item(event, frames)
            case StepStart():
                self._open(frames)
                self._usage = event.usage or self._usage
            case Finished() | Failed() | Cancelled():
                self._end(event, frames)
            case _:
                self._note(event)

    def _note(
        self, event: StreamStart | StepEnd | Usage | Signature | ChoiceEnd | Attrs | Status | ToolResult | ObjectValue
    ) -> None:
        """What shows only in other frames, or never."""
        match event:
            case StreamStart():
                self._start = event
            case StepEnd():
                self._usage = event.usage or self._usage
            case Usage():
                self._usage = event
            case Signature():
                if part := self._parts.get(event.item):
                    self._item_of(part).signature = event.data
            case ChoiceEnd() | Attrs() | Status() | ToolResult() | ObjectValue():
                pass  # this shape has no word for them: docs/dialects.md
            case _:
                assert_never(event)

    def _add(self, frames: list[Frame], named: list[Named]) -> None:
        for kind, fields in named:
            frames.append(_OtherFrame(kind, self._number, fields))
            self._number += 1

    def _open(self, frames: list[Frame]) -> None:
        """The first two frames, once: official clients insist on them."""
        if not self._created:
            self._created = True
            begun = response.outline(self._start)
            self._add(frames, [(CREATED, {"response": begun}), ("response.in_progress", {"response": begun})])

    def _begin(self, start: ItemStart, frames: list[Frame]) -> None:
        words = WORDS.get(start.kind)
        if words is None or start.choice != 0:
            return
        self._open(frames)
        index, self._next = self._next, self._next + 1
        item = OutputItem(index, begun_item(start.kind, self._start.id, index, start.name, start.call_id))
        self._output[index] = item
        part = self._parts[start.item] = item.part(words)
        self._add(frames, item.begin())
        if start.kind != "reasoning":  # which may be nothing but a signature
            self._add(frames, part.begin())

    def _text(self, event: TextDelta, frames: list[Frame]) -> None:
        part = self._parts.get(event.item)
        if part is None or not part.open or part.words is ARGUMENTS:
            return
        self._add(frames, part.begin())
        part.pieces.append(event.text)
        tokens = token_logprobs(event.logprobs) if event.logprobs is not None else []
        if not tokens or b"logprobs" not in part.ending:
            frames.append(_DeltaFrame(part, self._number, event.text))
            self._number += 1
            return
        part.logprobs += tokens
        self._add(frames, [(part.type, {**part.place, "delta": event.text, "logprobs": tokens})])

    def _args(self, event: ArgsDelta, frames: list[Frame]) -> None:
        part = self._parts.get(event.item)
        if part is None or not part.open or part.words is not ARGUMENTS:
            return
        part.pieces.append(event.json)
        frames.append(_DeltaFrame(part, self._number, event.json))
        self._number += 1

    def _end_item(self, event: ItemEnd, frames: list[Frame]) -> None:
        part = self._parts.get(event.item)
        if part is not None:
            self._add(frames, self._item_of(part).end("incomplete" if self._cut_short else "completed"))

    def _end(self, terminal: Terminal, frames: list[Frame]) -> None:
        """Everything that is open, and how it ended."""
        self._open(frames)
        if isinstance(terminal, Finished) and self._held is not None:
            kind, fields = self._held
            self._add(frames, [(kind, fields)])
            return
        whole = isinstance(terminal, Finished) and terminal.reason != "length"
        for index in sorted(self._output):
            self._add(frames, self._output[index].end("completed" if whole else "incomplete"))
        said = response.ended(response.outline(self._start), terminal)
        said["output"] = [self._output[index].value("incomplete") for index in sorted(self._output)]
        said["usage"] = response.usage_block(self._usage)
        if isinstance(terminal, Cancelled):  # there is no frame that says cancelled
            said["status"] = "incomplete"
        self._add(frames, [("response." + said["status"], {"response": said})])
        if isinstance(terminal, Failed):
            self._add(frames, [("error", error_frame(terminal))])

    def _raw(self, record: Record, raw: Raw) -> list[Frame]:
        """The frame that the record came as, and what of it the rest of the fold must know."""
        frame, fields = read_frame(raw), _fields_of(raw)
        frames: list[Frame] = []
        if frame.type == CREATED:
            self._created = True
        self._open(frames)
        for event in record.events:
            self._note_raw(event, frame)
        self._note_item(frame)
        if "response" in fields and bytes(fields["response"])[:1] == b"{":
            fields["response"] = Raw(_encode(response.ours(self._start, fields["response"])))
        if frame.type in ENDS:
            self._held = frame.type, fields
        else:
            self._add(frames, [(frame.type, fields)])
        if record.terminal is not None:
            self._end(record.terminal, frames)
        return frames

    def _note_raw(self, event: Event, frame: RawFrame) -> None:
        match event:
            case ItemStart():
                self._place(event.item, event, frame)
            case TextDelta() | ArgsDelta():
                part = self._place(event.item, None, frame)
                if part is not None and not frame.type.endswith(".added"):  # which only parts two texts
                    part.pieces.append(event.text if isinstance(event, TextDelta) else event.json)
            case StreamStart() | StepEnd() | Usage():
                self._note(event)
            case StepStart():
                self._usage = event.usage or self._usage
            case _:
                pass  # the frames themselves say it

    def _place(self, number: int, start: ItemStart | None, frame: RawFrame) -> Part | None:
        """The part that this frame begins or goes on with: where the frame says that it is, deltas are from now on."""
        known = self._parts.get(number)
        words = known.words if known is not None else WORDS.get(start.kind) if start is not None else None
        if words is None:
            return None
        if words in (SUMMARY, THOUGHT):
            words = THOUGHT if frame.summary_index is None else SUMMARY
        item = self._item_at(frame)
        part = self._parts[number] = item.part(words, frame.index)
        part.begun = part.open = True
        return part

    def _item_of(self, part: Part) -> OutputItem:
        return self._output[part.place["output_index"]]

    def _item_at(self, frame: RawFrame) -> OutputItem:
        index = frame.output_index
        item = self._output.get(index)
        if item is None or (item.done is not None and frame.type == "response.output_item.added"):
            base = frame.item if frame.item is not None else {"id": frame.item_id, "type": "message"}
            item = self._output[index] = OutputItem(index, base)
            self._next = max(self._next, index + 1)
        return item

    def _note_item(self, frame: RawFrame) -> None:
        """What a failure would have to end, and repeat."""
        if frame.type == "response.output_item.added":
            self._item_at(frame)
        elif frame.type == "response.output_item.done" and frame.item is not None:
            self._item_at(frame).done = frame.item
        elif frame.type.endswith("_part.done") and frame.output_index in self._output:
            parts = self._output[frame.output_index].parts
            for words in (SUMMARY,) if frame.summary_index is not None else (TEXT, REFUSAL, THOUGHT):
                if part := parts.get((frame.index, words.delta)):
                    part.open = False

    def encode(self, frame: Frame) -> bytes:
        """The frame's data: see `View.encode`."""
        if type(frame) is _DeltaFrame:
            part = frame.part
            return b"".join((part.head, b"%d" % frame.number, part.opening, _encode(frame.text), part.ending))
        other = cast("_OtherFrame", frame)
        numbered = {"sequence_number": other.number}
        return _encode({"type": other.type} | numbered | other.fields | numbered)

    def size(self, frame: Frame) -> int:
        """Every frame counts one."""
        return 1

    def event(self, frame: Frame) -> str | None:
        """Its type; none where that is no name."""
        kind = frame.part.type if type(frame) is _DeltaFrame else cast("_OtherFrame", frame).type
        return kind if kind.isprintable() else None
