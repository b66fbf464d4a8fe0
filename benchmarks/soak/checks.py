"""What must hold of a stream once it has ended: its log, its readers, its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from benchmarks.soak.answers import Part, arriving, outcomes, parts_of, text_of
from benchmarks.soak.ledger import Ledger, difference
from benchmarks.soak.plan import BRIEF, Plan
from benchmarks.soak.reader import Reader
from benchmarks.soak.views import CHAT, NATIVE, TEXT, Malformed, View, text_of_log
from benchmarks.soak.wire import Exchange, Request, ask
from headrace.events import TERMINAL, ArgsDelta, ItemStart, Record, StepStart, StreamStart, decode_record

_LOG: Final = View(NATIVE, "ndjson")
_READS: Final = 2
_SURELY_RUNNING_S: Final = 12.0
_STOPS: Final = {"cancel": "cancelled", "grace=0.5": "cancelled", "grace=2": "cancelled"}


class Stream(Protocol):
    """A stream that has ended."""

    plan: Plan
    address: tuple[str, int]
    ledger: Ledger
    id: str
    deleted: bool
    left_after_s: float | None
    answer: Exchange | None
    readers: list[Reader]
    made: list[tuple[str, bool]]

    def report(self, what: str, detail: str, view: str = "") -> None:
        """Note a violation."""
        ...

    def was_cut_off(self) -> bool:
        """Whether the server said that it cut a reader off for not reading."""
        ...

    def is_expired(self) -> bool:
        """Whether it has ended so long ago that it is not kept any more."""
        ...

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Exchange:
        """A GET to its end."""
        ...


class _Expired(Exception):
    """The stream is not kept any more, and could not be looked at to the end."""


class _Truth:
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


async def check(stream: Stream) -> None:
    """Hold everything that was seen of a stream against the truth."""
    stream.ledger.endings[stream.plan.ending] += 1
    if not stream.id:
        if stream.plan.ending != "leave":  # nobody was told, and it may have gone before it was looked for
            stream.report("a stream without an id", f"{stream.made}")
        return
    truth = _Truth(stream)
    _check_ids(stream)
    if stream.deleted:
        await _check_deleted(stream, truth)
        return
    try:
        await _check_ended(stream, truth)
    except _Expired:
        stream.ledger.expired += 1


async def _check_ended(stream: Stream, truth: _Truth) -> None:
    """Everything of a stream that is still kept."""
    state: Any = (await _kept(stream, f"/v1/streams/{stream.id}")).json()
    truth.state = state["state"]
    truth.code = state.get("error", {}).get("code", "") or state.get("cancelled_by", "")
    stream.ledger.ended(stream.plan.recipe.fault.name, truth.state, truth.code)
    _check_outcome(stream, truth)
    references = await _references(stream, truth)
    records = [decode_record(data) for data in references.get(_LOG, ())]
    _check_log(stream, truth, records)
    _check_state(stream, truth, state, records)
    for reader in stream.readers:
        _check_reader(stream, truth, reader, references, records)
    _check_answer(stream, truth)
    await _check_key(stream)


async def _kept(stream: Stream, path: str, headers: dict[str, str] | None = None) -> Exchange:
    """What there is at a path of the stream. Raises `_Expired`."""
    exchange = await stream.get(path, headers)
    if exchange.status == 404 and stream.is_expired():
        raise _Expired
    return exchange


def _check_ids(stream: Stream) -> None:
    """All requests with one key made one stream, once (P10)."""
    ids = {each for each, _ in stream.made}
    if len(ids) > 1:
        stream.report("one idempotency key made several streams (P10)", f"{stream.made}")
    if stream.made and sum(not replayed for _, replayed in stream.made) != 1:
        stream.report("not exactly one request of a key made the stream (P10)", f"{stream.made}")


async def _check_deleted(stream: Stream, truth: _Truth) -> None:
    """What readers had of it is a beginning of the truth; and it is gone."""
    stream.ledger.ended(stream.plan.recipe.fault.name, "deleted", "")
    if (status := (await stream.get(f"/v1/streams/{stream.id}")).status) != 404:
        stream.report("a deleted stream is still there", f"status {status}")
    for reader in stream.readers:
        text = reader.view.text(reader.frames)
        if not truth.text.startswith(text):
            stream.report("text", difference(text.encode(), truth.text.encode()), reader.view.name)


def _check_outcome(stream: Stream, truth: _Truth) -> None:
    plan = stream.plan
    allowed = set(truth.outcomes)
    if plan.ending in ("cancel", "cancel-by-key"):
        allowed.add(("cancelled", "client"))
    if plan.model == BRIEF:
        allowed.add(("failed", "upstream_total_timeout"))
    if plan.ending == "leave" and plan.policy != "continue":
        allowed.add(("cancelled", "disconnect"))
        left = stream.left_after_s or 0.0
        sure = plan.recipe.seconds - left > _SURELY_RUNNING_S and plan.recipe.fault.text == ""
        if sure and plan.policy in _STOPS and plan.shape != "created":
            allowed = {("cancelled", "disconnect")}
    if (truth.state, truth.code) not in allowed:
        stream.report("an unexpected end", f"{truth.state} {truth.code} is none of {sorted(allowed)}")


async def _references(stream: Stream, truth: _Truth) -> dict[View, list[bytes]]:
    """An uninterrupted read of every view that somebody read, and of the log itself."""
    found: dict[View, list[bytes]] = {}
    for view in {_LOG, *(reader.view for reader in stream.readers)}:
        exchange = await _uninterrupted(stream, view)
        try:
            found[view] = _reference(stream, truth, view, exchange)
        except Malformed as problem:
            stream.report("a body is malformed", str(problem), view.name)
    return found


async def _uninterrupted(stream: Stream, view: View) -> Exchange:
    """A read of the whole view; where the machine was so slow that it was cut off for not reading, another one."""
    path = f"/v1/streams/{stream.id}/events?{view.query}"
    exchange = await _kept(stream, path, view.accept)
    for _ in range(_READS):
        if exchange.clean or not stream.was_cut_off():
            break
        exchange = await _kept(stream, path, view.accept)
    return exchange


def _reference(stream: Stream, truth: _Truth, view: View, exchange: Exchange) -> list[bytes]:
    if exchange.status != 200:
        # Only a text can be empty: there is nothing to read, or nothing but the failure.
        wanted = 204 if truth.state == "finished" else 400
        if view.format != TEXT or exchange.status < wanted:
            stream.report("an ended stream cannot be read", f"status {exchange.status}", view.name)
        return [b""]
    frames = view.frames(bytes(exchange.body))
    if exchange.clean != view.ends_cleanly(truth.state):
        stream.report("an ended stream's body ended wrongly (P5)", f"{truth.state}, clean {exchange.clean}", view.name)
    if view.format == TEXT:
        return [b"".join(map(view.content, frames))]
    ends = [number for number, frame in enumerate(frames, 1) if view.terminal(frame)]
    if ends != [len(frames)]:
        stream.report("not exactly one terminal frame, at the end (P3)", f"{ends} of {len(frames)}", view.name)
    return [frame.data for frame in frames]


def _check_log(stream: Stream, truth: _Truth, records: list[Record]) -> None:
    """The log is dense, has one terminal event, and says what the upstream sent."""
    if [record.seq for record in records] != list(range(len(records))):
        stream.report("the log has gaps", f"{[record.seq for record in records]}")
    events = [event for record in records for event in record.events]
    if not events or not isinstance(events[0], StreamStart) or not isinstance(events[-1], TERMINAL):
        stream.report("the log does not begin with its start and end with its end (P3)", f"{events[:1]} {events[-1:]}")
    if sum(isinstance(event, TERMINAL) for event in events) != 1:
        stream.report("not exactly one terminal event (P3)", f"{len(events)} events")
    for kind in ("text", "reasoning"):
        _check_text(stream, truth, kind, text_of_log(records, kind), text_of(truth.arriving, kind))
    calls = [event.item for event in events if isinstance(event, ItemStart) and event.kind == "tool_call"]
    for number, item in enumerate(calls):
        said = "".join(event.json for event in events if isinstance(event, ArgsDelta) and event.item == item)
        _check_text(stream, truth, f"tool call {number}", said, text_of(truth.arriving, "args", number))


def _check_text(stream: Stream, truth: _Truth, kind: str, got: str, wanted: str) -> None:
    whole = truth.exact and stream.plan.recipe.fault.exact
    if got != wanted if whole else not wanted.startswith(got):
        stream.report(f"{kind} is not what the upstream sent", difference(got.encode(), wanted.encode()))


def _check_state(stream: Stream, truth: _Truth, state: Any, records: list[Record]) -> None:
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


def _tokens(plan: Plan, truth: _Truth) -> int:
    """As the mock counts: words and fragments of arguments."""
    return plan.recipe.tokens + plan.recipe.reasoning + sum(part.kind == "args" for part in truth.parts)


def _check_reader(
    stream: Stream, truth: _Truth, reader: Reader, references: dict[View, list[bytes]], records: list[Record]
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
        joined = b"\n".join(got)
        if not b"\n".join(wanted).startswith(joined):
            stream.report("lost or repeated (P4)", difference(joined, b"\n".join(wanted)), reader.view.name)
    elif got != wanted:
        where = difference(b"\n".join(got), b"\n".join(wanted))
        detail = f"{reader.reading.kind}, {len(got)} frames instead of {len(wanted)}, {where}"
        stream.report("lost or repeated (P4)", detail, reader.view.name)


def _same_end(reader: Reader, state: str) -> bool:
    """The chat shape has one frame for a failure and for a stop."""
    return reader.end == state or (reader.view.format == CHAT and {reader.end, state} <= {"failed", "cancelled"})


def _check_answer(stream: Stream, truth: _Truth) -> None:
    """An answer that was not streamed has all of the text, or what there was of it."""
    if stream.answer is None:
        return
    body: Any = stream.answer.json()
    if (stream.answer.status == 200) != (truth.state == "finished"):
        stream.report("an answer's status is not its stream's state", f"{stream.answer.status}, {truth.state}")
    text = body["error"].get("partial") or "" if "error" in body else body["choices"][0]["message"]["content"] or ""
    _check_text(stream, truth, "answer", text, truth.text)


async def _check_key(stream: Stream) -> None:
    """The key still leads to the stream, and not with another body (P10)."""
    plan = stream.plan
    if plan.key is None or plan.number % 2:
        return
    request = plan.request
    other = Request(request.method, request.path, request.body | {"metadata": {}}, request.headers)
    found = await ask(stream.address, other)
    if found.status != 422 and not stream.is_expired():
        stream.report("another body under the same key", f"status {found.status}")
