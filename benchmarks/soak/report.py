"""The run in words: a line while it goes on, a table at its end, and a page to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from benchmarks._page import grid, machine
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.result import MARK_S, Result, Sample
from benchmarks.soak.servers import BRIEF_S, RETENTION_S, WRITE_TIMEOUT_S

_STATES = ("finished", "failed", "cancelled", "deleted")
_READER_COLUMNS = ("readers", "resumes", "cuts", "stalls", "cut off", "frames")
_GAUGES = (
    ("streams that run", "headrace_streams_active"),
    ("readers", "headrace_stream_readers"),
    ("upstream requests", "headrace_num_requests_running"),
    ("slots", "headrace_slots_in_use"),
    ("tasks", "headrace_tasks"),
)


def line(ledger: Ledger, sample: Sample) -> str:
    """How far it is."""
    states = ", ".join(f"{ledger.states[state]} {state}" for state in _STATES)
    resumes = _sum(ledger.readers.values(), "resumes")
    return (
        f"{sample.at_s:4.0f} s  {ledger.started} started, {sample.metrics.of(_GAUGES[0][1])} run, "
        f"{ledger.checked} checked ({states})  {sample.readers} readers, {resumes} resumes  "
        f"{sample.server.rss_mb:.0f} MB, {sample.metrics.of('headrace_tasks')} tasks, {sample.server.fds} fds  "
        f"{ledger.violated} violations"
    )


def _sum(counts: Iterable[Counter[str]], name: str) -> int:
    return sum(each[name] for each in counts)


def table(result: Result) -> str:
    """What is printed at the end: the page without its words."""
    return "\n\n".join(
        (_load(result), _faults(result), _outcomes(result), _readers(result), _leaks(result), _memory(result))
    )


def markdown(result: Result) -> str:
    """The page to keep."""
    options, ledger = result.options, result.ledger
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    verdict = "No violation." if not ledger.violated else f"**{ledger.violated} violations.**"
    listed = "".join(f"\n```text\n{violation}\n```\n" for violation in ledger.violations)
    return f"""# Soak

`scripts/bench soak --minutes {options.seconds / 60:g} --streams {options.streams} --seed {options.seed}`, {date};
{machine()}. Server, mock and readers share the cores, and so did other work: times are noisy. {verdict}
{listed}
## What ran

{_load(result)}

`write_timeout` was {WRITE_TIMEOUT_S:g} s, `retention_seconds` {RETENTION_S:g}. Deleted streams are counted as such,
however they had ended.

## By what went wrong upstream

A failure without a fault is that of the model with a `total_timeout` of {BRIEF_S:g} s.

{_faults(result)}

## By how streams ended

{_outcomes(result)}

## Readers

Every reader's frames, joined over all its connections, were compared with an uninterrupted read of the same view after
the end, and every log with what the mock was told to send. "cut off" counts bodies that the server did not end: for a
reader that does not read, a text of a stream that did not finish, or a stream that was deleted.

{_readers(result)}

## What was left

{_leaks(result)}

## Memory

{_memory(result)}
"""


def _load(result: Result) -> str:
    ledger, last = result.ledger, result.samples[-1]
    counts = ledger.readers.values()
    steady = [sample for sample in result.samples if MARK_S / 4 < sample.at_s < result.options.seconds]
    running = sorted(sample.metrics.of("headrace_streams_active") for sample in steady) or [0]
    readers = sorted(sample.metrics.of("headrace_stream_readers") for sample in steady) or [0]
    cpu = (
        ("server", last.server.cpu_s - result.before.server.cpu_s),
        ("mock", last.mock.cpu_s - result.before.mock.cpu_s),
        ("readers and checks", last.own_cpu_s - result.before.own_cpu_s),
    )
    rows = [
        ("streams", f"{ledger.started}, all checked"),
        ("running at a time (median of samples)", running[len(running) // 2]),
        ("attached readers at a time (median)", readers[len(readers) // 2]),
        ("time", f"{result.load_s:.0f} s until the last stream was checked"),
        ("tokens from the mock", f"{result.after.stats['tokens_sent']:,}"),
        ("frames to readers", f"{_sum(counts, 'frames'):,} ({_sum(counts, 'frames') / result.load_s:,.0f} a second)"),
        ("bytes to readers", f"{_sum(counts, 'bytes') / 2**20:,.0f} MiB"),
        (
            "resumes",
            f"{_sum(counts, 'resumes'):,} ({result.after.metrics.of('headrace_stream_resumes_total'):,} by /metrics)",
        ),
        ("processor", ", ".join(f"{name} {seconds / result.load_s:.0%}" for name, seconds in cpu) + " of a core"),
        ("longest pause of the readers' own process", f"{ledger.lag_s:.1f} s"),
        ("not looked at to the end, because no longer kept", ledger.expired),
        ("violations", ledger.violated),
        *((f"- {kind}", count) for kind, count in ledger.kinds.most_common()),
    ]
    return grid(("", ""), rows)


def _faults(result: Result) -> str:
    rows = [
        (f"`{fault}`", *(counts[state] or "" for state in _STATES))
        for fault, counts in sorted(result.ledger.faults.items())
    ]
    return grid(("fault", *_STATES), rows)


def _outcomes(result: Result) -> str:
    rows = [(state, code, count) for (state, code), count in sorted(result.ledger.outcomes.items())]
    words = [
        f"{title}: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}."
        for title, counts in (("Meant to end", result.ledger.endings), ("Made as", result.ledger.shapes))
    ]
    return "\n\n".join([grid(("state", "code or by whom", "streams"), rows), *words])


def _readers(result: Result) -> str:
    rows = [
        (kind, *(counts[column] or "" for column in _READER_COLUMNS))
        for kind, counts in sorted(result.ledger.readers.items())
    ]
    totals = [_sum(result.ledger.readers.values(), column) for column in _READER_COLUMNS]
    return grid(("reader, view", *_READER_COLUMNS), [*rows, ("all", *totals)])


def _leaks(result: Result) -> str:
    ends = (MARK_S, result.options.seconds)
    looks = (result.before, *(_nearest(result.samples, at) for at in ends), result.after)
    rows: list[Sequence[object]] = [(word, *(look.metrics.of(name) for look in looks)) for word, name in _GAUGES]
    rows += [
        ("sockets of clients", *(look.sockets.of_clients for look in looks)),
        ("sockets to the upstream", *(look.sockets.to_upstream for look in looks)),
        ("of them idle in the pool", *(look.pool for look in looks)),
        ("file descriptors", *(look.server.fds for look in looks)),
        ("threads", *(look.server.threads for look in looks)),
        ("RSS, MB", *(f"{look.server.rss_mb:.0f}" for look in looks)),
        ("mock: answers that run", *(look.stats["streams"]["now"] for look in looks)),
        ("mock: file descriptors", *(look.mock.fds for look in looks)),
        ("mock: RSS, MB", *(f"{look.mock.rss_mb:.0f}" for look in looks)),
    ]
    heads = ("", "before", f"at {looks[1].at_s:.0f} s", f"at {looks[2].at_s:.0f} s", "after")
    return grid(heads, rows)


def _nearest(samples: Sequence[Sample], at_s: float) -> Sample:
    return min(samples, key=lambda sample: abs(sample.at_s - at_s))


def _memory(result: Result) -> str:
    if not result.options.judges_memory:
        return "The run was too short to say anything about memory."
    steps = " ".join(
        f"{_nearest(result.samples, at).server.rss_mb:.0f}" for at in range(0, int(result.options.seconds) + 1, 60)
    )
    return (
        f"The log is steady within the first minute: no answer takes over {result.options.longest_s:g} s, and it is "
        f"kept for {RETENTION_S:g} s after its end. Median RSS around {MARK_S:g} s: {result.first_rss_mb:.0f} MB; at "
        f"the end of the load: {result.last_rss_mb:.0f} MB, {result.growth:+.1%}. Every minute, MB: {steps}."
    )
