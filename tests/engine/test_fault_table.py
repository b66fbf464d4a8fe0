"""What happens when: everything that can happen to a stream, in every phase in which it can happen.

The tables are the expectation, written out; every cell of them is a test. docs/faults.md says the same for people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import anyio
import pytest

from headrace import errors
from headrace.engine.clock import FakeClock
from headrace.errors import HeadraceError, NotFound, Overloaded
from headrace.events import Cancelled, Failed, Finished
from tests.engine import faults
from tests.engine.faults import DEADLINE, LARGEST_LOG, PAUSE, Deed, FaultyStore, Scene, fails, loses, seen
from tests.engine.rig import (
    CANCEL,
    CONTINUE,
    GRACE,
    PushingProvider,
    Rig,
    ScriptedProvider,
    node,
    read_all,
    settle,
    terminals,
)

pytestmark = pytest.mark.anyio


class End(NamedTuple):
    """How a stream ends."""

    state: str
    word: str
    """The code of a failure, the reason of a finish, who cancelled."""
    status: int = 200
    """Of an HTTP answer that has not begun."""
    retryable: bool = False
    advice: str = ""
    """The headers of such an answer that a client's retry logic reads."""


FINISHED = End("finished", "stop")
STOPPED = End("cancelled", "client", 499)
ABANDONED = End("cancelled", "disconnect", 499)
DELETED = End("deleted", "not_found", 404)


def retry(status: int, code: str, advice: str = "") -> End:
    """A failure that may be over when the client asks again."""
    return End("failed", code, status, retryable=True, advice=advice)


def never(status: int, code: str, advice: str = " x-should-retry: false") -> End:
    return End("failed", code, status, advice=advice)


def error(kind: type[HeadraceError], code: str | None = None, **fields: Any) -> Deed:
    return fails(kind("x", code=code, **fields))


DOWN, SLOW, BUSY = errors.UpstreamUnavailable, errors.UpstreamTimeout, errors.RateLimited
LIMITED, DEFECT, RETRY_7 = "upstream_rate_limited", "internal_error", " retry-after: 7"

# fmt: off
PHASES = (   "queued", "unanswered", "between-tries", "after-role", "in-text", "in-tool-call", "after-marker")
# How often the upstream is asked in all.
AGAIN = (     3,        3,            3,               1,            1,         1,              1)
ONCE = (      1,        1,            2,               1,            1,         1,              1)
NO_MORE = (   1,        1,            1,               1,            1,         1,              1)
AT_ONCE = (   0,        1,            1,               1,            1,         1,              1)
# What the log has: text, or the arguments of a tool call.
SO_FAR = (    "",       "",           "",              "",           "ab",      '{"at": "Z',    "ab")
AND_MORE = (  "c",      "c",          "c",             "c",          "abc",  '{"at": "Zürich',  "ab")

# What happens, how the stream ends, how often the upstream is asked.
FAULTS: dict[str, tuple[Deed, End, tuple[int, ...]]] = {
    # The upstream fails, before its answer or in it, or its provider does.
    "unreachable":      (error(DOWN),                         retry(503, "upstream_unavailable"),           AGAIN),
    "status-500":       (error(DOWN, status=502),             retry(502, "upstream_unavailable"),           AGAIN),
    "status-503":       (error(DOWN, retry_after=7),          retry(503, "upstream_unavailable", RETRY_7),  AGAIN),
    "status-429":       (error(BUSY, LIMITED, retry_after=7), retry(429, LIMITED, RETRY_7),                 AGAIN),
    "status-429-long":  (error(BUSY, LIMITED, retry_after=61), retry(429, LIMITED, " retry-after: 61"),     ONCE),
    "out-of-quota":     (error(BUSY, LIMITED, retryable=False), never(429, LIMITED),                        ONCE),
    "status-401":       (error(errors.UpstreamAuth),          never(502, "upstream_auth"),                  ONCE),
    "status-404":       (error(errors.UpstreamModelNotFound), never(502, "upstream_model_not_found"),       ONCE),
    "status-422":       (error(errors.UpstreamRejected, status=422), never(422, "upstream_rejected", ""),   ONCE),
    "error-frame":      (error(errors.UpstreamError),         retry(502, "upstream_error"),                 AGAIN),
    "no-stream":        (error(errors.UpstreamProtocol, retryable=False), never(502, "upstream_protocol"),  ONCE),
    "garbage":          (error(errors.UpstreamProtocol),      retry(502, "upstream_protocol"),              AGAIN),
    "incomplete":       (error(errors.UpstreamIncomplete),    retry(502, "upstream_incomplete"),            AGAIN),
    "connect-deadline": (error(SLOW, "upstream_connect_timeout"), retry(504, "upstream_connect_timeout"),   AGAIN),
    "defect":           (fails(ZeroDivisionError()),          never(500, DEFECT),                           ONCE),
    "stray-cancellation": (fails(asyncio.CancelledError()),   never(500, DEFECT),                           ONCE),
    "no-marker":        (faults.says_no_more,                 never(500, DEFECT),                           ONCE),
    # It takes too long.
    "ttft-deadline":    (faults.is_silent,                    retry(504, "upstream_ttft_timeout"),          NO_MORE),
    "idle-deadline":    (faults.is_silent,                    retry(504, "upstream_idle_timeout"),          NO_MORE),
    "total-deadline":   (faults.is_silent,                    never(504, "upstream_total_timeout"),         NO_MORE),
    # The log cannot be written, or is not ours any more.
    "append-lost":      (loses("append"),                     retry(503, "store_error"),                    ONCE),
    "append-unsure":    (loses("append", late=True),          retry(503, "store_error"),                    ONCE),
    "finish-lost":      (loses("finish"),                     retry(503, "store_error"),                    ONCE),
    "finish-unsure":    (loses("finish", late=True),          FINISHED,                                     ONCE),
    "log-full":         (faults.says_too_much,                never(503, "log_full"),                       ONCE),
    "all-logs-full":    (faults.says_too_much,                retry(503, "log_full"),                       ONCE),
    "taken-over":       (faults.is_taken_over,                retry(503, "producer_lost"),                  NO_MORE),
    "deleted":          (faults.is_deleted,                   DELETED,                                      NO_MORE),
    # Somebody stops it, or leaves.
    "cancel":           (faults.is_cancelled,                 STOPPED,                                      AT_ONCE),
    "left-cancel":      (faults.is_left,                      ABANDONED,                                    AT_ONCE),
    "left-grace":       (faults.is_left,                      ABANDONED,                                    NO_MORE),
    "left-continue":    (faults.is_left_and_goes_on,          FINISHED,                                     ONCE),
    "shutdown":         (faults.is_cut_at_shutdown,           retry(503, "server_shutdown"),                AT_ONCE),
    "drain":            (faults.is_drained,                   FINISHED,                                     ONCE),
}

# What readers see of the end, by how the stream ends and whether the log had anything of an answer.
STATUS, PARTIAL = "{status}", "{status}{partial}"
DONE, ERROR, CUT = "200 [DONE] clean", "200 {error} aborted", "200 … aborted"
RECORD, TEXT, TEXT_CUT = "200 {end} clean", "200 {text} clean", "200 {text} aborted"
#                          POST, streamed  POST, whole    GET chat       GET native   GET text
SEEN = {
    ("finished", True):   (DONE,           "200 clean",   DONE,          RECORD,      TEXT),
    ("failed", False):    (STATUS,         STATUS,        ERROR,         RECORD,      TEXT_CUT),
    ("failed", True):     (ERROR,          PARTIAL,       ERROR,         RECORD,      TEXT_CUT),
    ("cancelled", False): (STATUS,         STATUS,        ERROR,         RECORD,      TEXT_CUT),
    ("cancelled", True):  (ERROR,          PARTIAL,       ERROR,         RECORD,      TEXT_CUT),
    ("deleted", False):   (STATUS,         STATUS,        "200 aborted", CUT,         TEXT_CUT),
    ("deleted", True):    (CUT,            STATUS,        CUT,           CUT,         TEXT_CUT),
}
# fmt: on
BEFORE_THE_ANSWER = ("queued", "unanswered", "between-tries")
GOES_ON = ("append-lost", "append-unsure", "finish-lost", "finish-unsure", "left-continue", "drain")
"""Where the upstream comes to say more, and the log has it."""
COUNTED = ("finish-lost", "finish-unsure", "left-continue", "drain")
"""Where the upstream comes to say how many tokens it was."""
POLICIES = {"left-cancel": CANCEL, "left-grace": GRACE}
RETRIES: dict[str, Any] = {"retries": 2, "retry_backoff": PAUSE, "retry_backoff_max": PAUSE}
SETTINGS: dict[str, dict[str, Any]] = {
    "ttft-deadline": {"ttft_timeout": DEADLINE},
    "idle-deadline": {"stream_idle_timeout": DEADLINE},
    "total-deadline": {"total_timeout": DEADLINE},
}

IMPOSSIBLE: dict[str, dict[str, str]] = {
    "connect-deadline": dict.fromkeys(PHASES[3:], "the connection stands"),
    "ttft-deadline": {
        "between-tries": "a wait that the deadline does not leave is not begun",
        "in-text": "the first token has come",
        "in-tool-call": "the first token has come",
    },
    "idle-deadline": dict.fromkeys(PHASES[:4], "it counts from the first token"),
    "total-deadline": {"between-tries": "a wait that the deadline does not leave is not begun"},
    "append-lost": {"after-marker": "nothing is written any more"},
    "append-unsure": {"after-marker": "nothing is written any more"},
    "finish-lost": {"after-marker": "nothing is written any more"},
    "finish-unsure": {"after-marker": "nothing is written any more"},
    "log-full": {"after-marker": "nothing is written any more"},
    "all-logs-full": {"after-marker": "nothing is written any more"},
    "taken-over": {"after-marker": "an ended log has no producer"},
}
"""Cells that do not exist, and why."""


class Row(NamedTuple):
    """One cell, with all that is expected there."""

    fault: str
    phase: str
    end: End
    """Of the log; what is there counts, not what its producer came to know."""
    asked: int
    """Requests to the upstream, each of which is closed in the end."""
    text: str
    arguments: str
    usage: str | None
    seen: dict[str, str]


def _row(fault: str, phase: str) -> Row:
    _, end, asked = FAULTS[fault]
    place = PHASES.index(phase)
    over, more = phase == "after-marker", fault in GOES_ON
    if over and end is not DELETED:
        end = FINISHED
    kept = (AND_MORE if more else SO_FAR)[place]
    text, arguments = ("", kept) if phase == "in-tool-call" else (kept, "")
    usage = "provider" if over or fault in COUNTED else None if fault == "taken-over" else "partial"
    readers = _readers(FINISHED if over else end, more or phase not in BEFORE_THE_ANSWER, text, said=bool(kept))
    return Row(fault, phase, end, asked[place], text, arguments, usage, readers)


def _readers(end: End, answered: bool, text: str, *, said: bool) -> dict[str, str]:
    code = "cancelled" if end.state == "cancelled" else end.word
    words = {
        "status": f"{end.status} {code}{end.advice}",
        "error": f"error {code}",
        "end": f"{end.state} {end.word}",
        "text": repr(text),
        "partial": f" after {text!r}" if said else "",
    }
    return {name: each.format(**words) for name, each in zip(faults.READERS, SEEN[end.state, answered], strict=True)}


PROVES = {
    "incomplete": pytest.mark.promise("P6", "P21"),
    "status": pytest.mark.promise("P21"),
    "unreachable": pytest.mark.promise("P21"),
    "append": pytest.mark.promise("P21"),
    "deadline": pytest.mark.promise("P20"),
    "cancel": pytest.mark.promise("P7"),
    "left": pytest.mark.promise("P8"),
    "shutdown": pytest.mark.promise("P11"),
    "drain": pytest.mark.promise("P11"),
}


def _rows() -> Iterator[Any]:
    for fault, phase in product(FAULTS, PHASES):
        if phase not in IMPOSSIBLE.get(fault, {}):
            marks = [mark for word, mark in PROVES.items() if fault.startswith(word) or fault.endswith(word)]
            yield pytest.param(_row(fault, phase), id=f"{fault}-{phase}", marks=marks)


async def _log_is(rig: Rig, row: Row, stream_id: str) -> None:
    """The log has what the row says, and one terminal record, at its end."""
    if row.end.state == "deleted":
        with pytest.raises(NotFound):
            await rig.records(stream_id)
        return
    log = await rig.records(stream_id)
    assert [record.seq for record in log] == list(range(len(log)))
    (terminal,) = terminals(log)
    assert log[-1].terminal is terminal
    match terminal:
        case Failed():
            found = ("failed", terminal.code, terminal.status, terminal.retryable)
        case Cancelled():
            found = ("cancelled", terminal.by, 499, False)
        case _:
            assert isinstance(terminal, Finished)
            found = ("finished", terminal.reason, 200, False)
    assert found == row.end[:4]
    answer = await rig.engine.answer(stream_id)
    items = [item for choice in answer.choices for item in choice.items]
    assert answer.text == row.text
    assert "".join(item.text for item in items if item.kind == "tool_call") == row.arguments
    assert (answer.usage and answer.usage.source) == row.usage


async def _place_is_free(rig: Rig) -> None:
    """Another stream may run, of a key that may have one; or the server takes none any more."""
    if rig.engine.refusal is not None:
        with pytest.raises(Overloaded):
            await rig.start()
        return
    another = await rig.start(CANCEL)
    another.subscription.close()
    await settle()


@pytest.mark.promise("P3", "P5", "P12", "P13", "P19", "P24", "P27")
@pytest.mark.parametrize("row", list(_rows()))
@pytest.mark.parametrize("provider", [ScriptedProvider, PushingProvider])
async def test_what_happens(row: Row, provider: type[ScriptedProvider]) -> None:
    clock = FakeClock()
    limit = "max_bytes" if row.fault == "all-logs-full" else "max_stream_bytes"
    store = FaultyStore(now=clock.wall, **{limit: LARGEST_LOG})
    leaves = row.fault.startswith("left")
    with anyio.fail_after(5):
        config: dict[str, Any] = {"max_running_per_key": 1, **RETRIES, **SETTINGS.get(row.fault, {})}
        async with node(store, clock, provider=provider(), **config) as rig:
            scene = Scene(rig, store, await rig.start(POLICIES.get(row.fault, CONTINUE)), row.phase)
            async with anyio.create_task_group() as tasks:
                if not leaves:
                    await scene.watched(tasks)
                await scene.reach()
                await FAULTS[row.fault][0](scene)
                await settle()
                assert rig.history == ["asked", "closed"] * row.asked
                await _log_is(rig, row, scene.stream_id)
                await _place_is_free(rig)
            if leaves:
                await scene.read_late()
            assert {name: seen(name, reader) for name, reader in scene.readers.items()} == row.seen


@pytest.mark.promise("P3", "P21")
async def test_a_retry_that_cannot_be_announced_is_not_made() -> None:
    clock = FakeClock()
    store = FaultyStore(now=clock.wall)
    with anyio.fail_after(5):
        async with node(store, clock, **RETRIES) as rig:
            scene = Scene(rig, store, await rig.start(), "between-tries")
            store.failing = "append"
            await scene.reach()
            (terminal,) = terminals(await read_all(scene.started.subscription))
            assert isinstance(terminal, Failed) and terminal.code == "store_error"
            assert rig.history == ["asked", "closed"]


@pytest.mark.promise("P20", "P21")
@pytest.mark.parametrize("deadline", ["ttft_timeout", "total_timeout"])
async def test_a_wait_that_a_deadline_does_not_leave_is_not_begun(deadline: str) -> None:
    settings: dict[str, Any] = {deadline: DEADLINE}
    with anyio.fail_after(5):
        async with node(**RETRIES, **settings) as rig:
            started = await rig.start()
            rig.call.fail(DOWN("x"))
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed) and terminal.code == "upstream_unavailable"
            assert rig.history == ["asked", "closed"]


def test_what_cannot_be_is_a_fault_in_a_phase() -> None:
    assert set(faults.SAID) == set(PHASES)
    assert {(fault, phase) for fault, phases in IMPOSSIBLE.items() for phase in phases} < set(product(FAULTS, PHASES))
