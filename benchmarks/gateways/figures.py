"""The figures of one measurement."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from benchmarks.gateways.loads import Load
from benchmarks.gateways.meters import Reading, Used, between
from benchmarks.gateways.transcript import Transcript

_SHOWN_PROBLEMS: Final = 5
_ENOUGH: Final = 0.97
"""Of the rate that was asked for; a server that hands on less does not keep up."""


class Measured(msgspec.Struct):
    """What the client says of a run. Figures that a load does not have are None."""

    problems: list[str]
    """Answers that are wrong; then no figure counts."""
    events: int
    """In the window."""
    used: Used
    rate: float
    """Events per second."""
    keeps_up: bool = True
    """Whether that is what was asked for, and all streams ran during the whole window."""
    cpu_us: float = 0.0
    """Of the server, for each event."""
    figures: dict[str, float] = {}


def measured(load: Load, transcripts: Sequence[Transcript], idle: Reading, begun: Reading, ended: Reading) -> Measured:
    """Judge the answers, and count what came between two looks."""
    wrong = [each.problem for each in transcripts if each.problem]
    problems = [f"{len(wrong)} of {len(transcripts)} answers are wrong", *wrong[:_SHOWN_PROBLEMS]] if wrong else []
    used = between(begun, ended)
    inside = [
        (arrival, arrival - stamp)
        for each in transcripts
        for arrival, stamp in zip(each.arrivals, each.stamps, strict=False)
        if begun.at_ns <= arrival < ended.at_ns
    ]
    events = len(inside)
    rate = events / used.wall_s if used.wall_s else 0.0
    result = Measured(problems, events, used, rate)
    if not events:
        result.problems.append("no event in the window")
        return result
    result.cpu_us = used.server_s / events * 1e6
    result.keeps_up = not load.rate or (rate >= load.rate * _ENOUGH or load.kind == "cycle")
    if load.kind == "cycle":
        result.figures = _first_tokens(transcripts, begun, ended)
    elif load.kind != "rush":
        result.figures = quantiles("latency", [late / 1e6 for _, late in inside])
        result.figures["together"] = _together(transcripts, begun, ended) / events
        result.figures["rss_kb"] = (ended.server_rss - idle.server_rss) / load.streams / 1024
        result.figures["rss_mb"] = ended.server_rss / 2**20
    return result


def quantiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile, and the worst."""
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else list(values) * 99
    return {f"{name}_p50_ms": cuts[49], f"{name}_p99_ms": cuts[98], f"{name}_max_ms": max(values)}


def _first_tokens(transcripts: Sequence[Transcript], begun: Reading, ended: Reading) -> dict[str, float]:
    waits = [
        (each.arrivals[0] - each.asked) / 1e6
        for each in transcripts
        if each.arrivals and begun.at_ns <= each.asked < ended.at_ns
    ]
    return {"streams": len(waits), **quantiles("ttft", waits)} if waits else {}


def _together(transcripts: Sequence[Transcript], begun: Reading, ended: Reading) -> int:
    """Events that came in the same read as the one before: one of them waited for the other."""
    return sum(
        before == after and begun.at_ns <= after < ended.at_ns
        for each in transcripts
        for before, after in pairwise(each.arrivals)
    )
