"""What a stream said, held against what its upstream was told to send, and its readers against its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from benchmarks.soak import reader as reading
from benchmarks.soak.answers import Part, arriving, outcomes, parts_of, text_of
from benchmarks.soak.ledger import difference
from benchmarks.soak.plan import Plan
from benchmarks.soak.reader import Reader
from benchmarks.soak.views import CHAT, TEXT, View, text_of_log
from benchmarks.soak.wire import Exchange
from headrace.events import TERMINAL, ArgsDelta, ItemStart, Record, StepStart, StreamStart


class Stream(reading.Stream, Protocol):
    """A stream that has ended."""

    left_after_s: float | None
    answer: Exchange | None
    readers: list[Reader]
    made: list[tuple[str, bool]]

    def was_cut_off(self) -> bool:
        """Whether the server said that it cut a reader off for not reading."""
        ...

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Exchange:
        """A GET to its end."""
        ...


class Truth:
    """What the upstream was told to send, and the end that the stream came to."""

    def __init__(self, stream: Stream) -> None:
        plan = stream.plan
        self.parts = parts_of(plan.recipe, stream.ledger.seed, plan.prompt)
        self.arriving: Sequence[Part] = arriving(plan.recipe, self.parts)
        self.outcomes = outcomes(plan.recipe, self.parts)
        self.text = text_of(self.arriving, "text")
        self.state = ""
        self.code = ""

    @property
    def exact(self) -> bool:
        """Whether the stream came to its own end."""
        return (self.state, self.code) in self.outcomes


def check_log(stream: Stream, truth: Truth, records: list[Record]) -> None:
    """The log is dense, has one terminal event, and says what the upstream sent."""
    if [record.seq for record in records] != list(range(len(records))):
        stream.report("the log has gaps", f"{[record.seq for record in records]}")
    events = [event for record in records for event in record.events]
    if not events or not isinstance(events[0], StreamStart) or not isinstance(events[-1], TERMINAL):
        stream.report("the log does not begin with its start and end with its end (P3)", f"{events[:1]} {events[-1:]}")
    if sum(isinstance(event, TERMINAL) for event in events) != 1:
        stream.report("not exactly one terminal event (P3)", f"{len(events)} events")
    for kind in ("text", "reasoning"):
        check_text(stream, truth, kind, text_of_log(records, kind), text_of(truth.arriving, kind))
    calls = [event.item for event in events if isinstance(event, ItemStart) and event.kind == "tool_call"]
    for number, item in enumerate(calls):
        said = "".join(event.json for event in events if isinstance(event, ArgsDelta) and event.item == item)
        check_text(stream, truth, f"tool call {number}", said, text_of(truth.arriving, "args", number))


def check_text(stream: Stream, truth: Truth, kind: str, got: str, wanted: str) -> None:
    whole = truth.exact and stream.plan.recipe.fault.exact
    if got != wanted if whole else not wanted.startswith(got):
        stream.report(f"{kind} is not what the upstream sent", difference(got.encode(), wanted.encode()))


def check_state(stream: Stream, truth: Truth, state: Any, records: list[Record]) -> None:
    """What the API says of the stream is what its log says."""
    terminal = records[-1].terminal if records else None
    if type(terminal).__name__.lower() != truth.state:
        stream.report("the state is not the log's", f"{truth.state}, {terminal}")
    if state["text"] != text_of_log(records):
        stream.report("the state's text is not the log's", difference(state["text"].encode(), truth.text.encode()))
    usage = state["usage"]
    if usage is None or (truth.state == "finished" and usage["source"] != "provider"):
        stream.report("the usage is not known (P27)", f"{usage}")
    elif truth.state == "finished" and usage["output"] != _tokens(stream.plan, truth):
        stream.report("the usage is wrong (P27)", f"{usage['output']} instead of {_tokens(stream.plan, truth)}")


def _tokens(plan: Plan, truth: Truth) -> int:
    """As the mock counts: words and fragments of arguments."""
    return plan.recipe.tokens + plan.recipe.reasoning + sum(part.kind == "args" for part in truth.parts)


def check_reader(
    stream: Stream, truth: Truth, reader: Reader, references: dict[View, list[bytes]], records: list[Record]
) -> None:
    """What a reader got over all its connections is the uninterrupted read (P4)."""
    code = "cancelled" if truth.state == "cancelled" else truth.code
    if reader.end == "refused" and reader.code != code:
        stream.report("a reader was refused", f"{reader.status} {reader.code}", reader.view.name)
    if reader.end in ("finished", "failed", "cancelled") and not _same_end(reader, truth.state):
        stream.report("a reader saw another end", f"{reader.end} instead of {truth.state}", reader.view.name)
    got, wanted = reader.content, references.get(reader.view, [])
    if reader.end == "refused" and reader.view.format != TEXT:  # before its head went out (P13)
        if any(isinstance(event, StepStart) for record in records for event in record.events):
            stream.report("a stream was refused after its upstream had answered (P13)", "", reader.view.name)
        return
    if reader.end in ("left", "gone"):
        wanted = wanted[: len(got)] if reader.view.format != TEXT else [wanted[0][: len(got[0])]]
    if got != wanted:
        where = difference(b"\n".join(got), b"\n".join(wanted))
        detail = f"{reader.reading.kind}, {len(got)} frames instead of {len(wanted)}, {where}"
        stream.report("lost or repeated (P4)", detail, reader.view.name)


def _same_end(reader: Reader, state: str) -> bool:
    """The chat shape has one frame for a failure and for a stop."""
    return reader.end == state or (reader.view.format == CHAT and {reader.end, state} <= {"failed", "cancelled"})


def check_answer(stream: Stream, truth: Truth) -> None:
    """An answer that was not streamed has all of the text, or what there was of it."""
    if stream.answer is None:
        return
    body: Any = stream.answer.json()
    if (stream.answer.status == 200) != (truth.state == "finished"):
        stream.report("an answer's status is not its stream's state", f"{stream.answer.status}, {truth.state}")
    text = body["error"].get("partial") or "" if "error" in body else body["choices"][0]["message"]["content"] or ""
    check_text(stream, truth, "answer", text, truth.text)
