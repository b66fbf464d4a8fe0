"""What must hold of a whole run: nothing is left of it, and nothing was lost sight of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.result import Result, Sample
from benchmarks.soak.servers import Server

_GROWTH: Final = 0.10
_MOST_LINES: Final = 5
_GAUGES: Final = {
    "headrace_streams_active": "streams",
    "headrace_stream_readers": "readers",
    "headrace_num_requests_running": "upstream requests",
    "headrace_slots_in_use": "slots",
    "headrace_tasks": "tasks",
}


def left(before: Sample, after: Sample, *, pooled: bool) -> dict[str, str]:
    """What is there after a run that was not there before it; empty when nothing leaked.

    `pooled`: connections to the upstream that wait for the next request, as they do for a minute, are no leak.
    """
    looks = (before, after)
    counts = {word: [look.metrics.of(name) for look in looks] for name, word in _GAUGES.items()}
    counts |= {
        "sockets of clients": [look.sockets.of_clients for look in looks],
        "sockets to the upstream": [look.sockets.to_upstream - pooled * look.pool for look in looks],
        "file descriptors": [look.server.fds - pooled * look.pool for look in looks],
        "threads": [look.server.threads for look in looks],
        "answers of the mock": [look.stats["streams"]["now"] for look in looks],
    }
    grown = {word: (was, now) for word, (was, now) in counts.items() if now > was}
    return {word: f"{now}, {was} before" for word, (was, now) in grown.items()}


def judge(result: Result, server: Server, exit_code: int | None) -> None:
    """Note what does not hold."""
    ledger = result.ledger
    for word, detail in left(result.before, result.after, pooled=not result.options.judges_memory).items():
        ledger.violation(f"leaked: {word}", detail)
    for line in server.defects[:_MOST_LINES]:
        ledger.violation("a defect in the server's log", line)
    if exit_code != 0:
        ledger.violation("the server did not end in order", f"exit code {exit_code}")
    for what, detail in _lost(result, server):
        ledger.violation(what, detail)
    if result.options.judges_memory and result.growth > _GROWTH:
        detail = f"{result.first_rss_mb:.0f} MB after a minute, {result.last_rss_mb:.0f} MB at the end"
        ledger.violation("memory grows", detail)


def _lost(result: Result, server: Server) -> Iterator[tuple[str, str]]:
    """Each stream was checked, and ended once, by whatever counts it."""
    ledger: Ledger = result.ledger
    if ledger.checked != ledger.started or ledger.running:
        yield "streams were lost sight of", f"{ledger.started} started, {ledger.checked} checked, {ledger.running} run"
    if unexplained := ledger.cut_off - set(server.cut_off):
        yield "readers were cut off, and not for their not reading", f"{sorted(unexplained)[:_MOST_LINES]}"
    counted = result.after.metrics.ended
    if counted.total() != ledger.started:
        yield "/metrics has not one end for each stream (P3)", f"{ledger.started} started, ended {dict(counted)}"
    twice = [ends for ends in server.ended.values() if len(ends) > 1]
    if twice or len(server.ended) != ledger.started:
        detail = f"{ledger.started} started, {len(server.ended)} in the log, {twice[:_MOST_LINES]}"
        yield "the log has not one line for each stream (P3)", detail
