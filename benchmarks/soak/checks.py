"""What must hold of a stream once it has ended: what it came to, what is read of it, and what its key leads to."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from benchmarks.soak.comparison import (
    Stream,
    Truth,
    check_answer,
    check_log,
    check_reader,
    check_state,
)
from benchmarks.soak.ledger import difference
from benchmarks.soak.plan import BRIEF
from benchmarks.soak.servers import LATE_S
from benchmarks.soak.views import NATIVE, TEXT, Malformed, View
from benchmarks.soak.wire import Exchange, Request, ask
from headrace.events import decode_record

_LOG: Final = View(NATIVE, "ndjson")
_READS: Final = 2
_SURELY_RUNNING_S: Final = 12.0
_STOPS: Final = ("cancel", "grace=0.5", "grace=2")


class _Expired(Exception):
    """The stream is not kept any more, and could not be looked at to the end."""


async def check(stream: Stream) -> None:
    """Hold everything that was seen of a stream against the truth."""
    stream.ledger.endings[stream.plan.ending] += 1
    stream.ledger.shapes[stream.plan.shape] += 1
    if not stream.id:
        if stream.plan.ending != "leave":  # nobody was told, and it may have gone before it was looked for
            stream.report("a stream without an id", f"{stream.made}")
        return
    truth = Truth(stream)
    _check_ids(stream)
    if stream.deleted:
        await _check_deleted(stream, truth)
        return
    try:
        await _check_ended(stream, truth)
    except _Expired:
        stream.ledger.expired += 1


async def _check_ended(stream: Stream, truth: Truth) -> None:
    """Everything of a stream that is still kept."""
    await _check_key(stream)
    state: Any = (await _kept(stream, f"/v1/streams/{stream.id}")).json()
    truth.state = state["state"]
    truth.code = state.get("error", {}).get("code", "") or state.get("cancelled_by", "")
    stream.ledger.ended(stream.plan.recipe.fault.name, truth.state, truth.code)
    _check_outcome(stream, truth)
    check_answer(stream, truth)
    references = await _references(stream, truth)
    records = [decode_record(data) for data in references.get(_LOG, ())]
    check_log(stream, truth, records)
    check_state(stream, truth, state, records)
    for reader in stream.readers:
        check_reader(stream, truth, reader, references, records)


async def _kept(stream: Stream, path: str, headers: dict[str, str] | None = None) -> Exchange:
    """What there is at a path of the stream. Raises `_Expired`."""
    exchange = await stream.get(path, headers)
    if exchange.status == 404 and stream.kept_for_s() <= 0:
        raise _Expired
    return exchange


def _check_ids(stream: Stream) -> None:
    """All requests with one key made one stream, once (P10)."""
    ids = {each for each, _ in stream.made}
    if len(ids) > 1:
        stream.report("one idempotency key made several streams (P10)", f"{stream.made}")
    if stream.made and sum(not replayed for _, replayed in stream.made) != 1:
        stream.report("not exactly one request of a key made the stream (P10)", f"{stream.made}")


async def _check_deleted(stream: Stream, truth: Truth) -> None:
    """What readers had of it is a beginning of the truth; and it is gone."""
    stream.ledger.ended(stream.plan.recipe.fault.name, "deleted", "")
    if (status := (await stream.get(f"/v1/streams/{stream.id}")).status) != 404:
        stream.report("a deleted stream is still there", f"status {status}")
    for reader in stream.readers:
        text = reader.view.text(reader.frames)
        if not truth.text.startswith(text):
            stream.report("text", difference(text.encode(), truth.text.encode()), reader.view.name)


def _check_outcome(stream: Stream, truth: Truth) -> None:
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


async def _references(stream: Stream, truth: Truth) -> dict[View, list[bytes]]:
    """An uninterrupted read of every view that somebody read, and of the log; all at once, for they are not kept."""
    views = {_LOG, *(reader.view for reader in stream.readers)}
    exchanges = await asyncio.gather(*(_uninterrupted(stream, view) for view in views))
    found: dict[View, list[bytes]] = {}
    for view, exchange in zip(views, exchanges, strict=True):
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


def _reference(stream: Stream, truth: Truth, view: View, exchange: Exchange) -> list[bytes]:
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


async def _check_key(stream: Stream) -> None:
    """The key still leads to the stream, and not with another body (P10)."""
    plan = stream.plan
    if plan.key is None or plan.number % 2 or stream.kept_for_s() < LATE_S:
        return
    request = plan.request
    other = Request(request.method, request.path, request.body | {"metadata": {}}, request.headers)
    found = await ask(stream.address, other)
    if found.status != 422:
        stream.report("another body under the same key", f"status {found.status}")
