"""The runs in figures: medians, the lowest and the highest, and what a server adds to going without one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.gateways.rounds import Run

BASE: Final = "direct"
_ADDED: Final = ("latency_p50_ms", "latency_p99_ms", "ttft_p50_ms", "ttft_p99_ms")


class Spread(msgspec.Struct, frozen=True):
    """A figure over several runs."""

    median: float
    low: float
    high: float


class Row(msgspec.Struct, frozen=True):
    """One server under one load."""

    server: str
    load: str
    runs: int
    """That count: those that others left alone, or if there are none, all."""
    quiet: bool
    keeps_up: bool
    """In every run."""
    figures: dict[str, Spread]
    """With `rate` and `cpu_us`, and for times `added_…`: less what the mock alone has in the same round."""


def rows(runs: Sequence[Run]) -> list[Row]:
    """One for each server and load that has a good run, in the order of the runs."""
    good = [run for run in runs if run.good]
    base = {(run.load, run.round): run for run in good if run.server == BASE}
    return [_row([run for run in good if (run.server, run.load) == key], base) for key in _keys(good)]


def _keys(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((run.server, run.load) for run in runs))


def _row(runs: Sequence[Run], base: dict[tuple[str, int], Run]) -> Row:
    quiet = [run for run in runs if run.quiet]
    counted = quiet or runs
    found: dict[str, list[float]] = {}
    for run in counted:
        for name, value in _figures(run, base.get((run.load, run.round))).items():
            found.setdefault(name, []).append(value)
    return Row(
        server=runs[0].server,
        load=runs[0].load,
        runs=len(counted),
        quiet=bool(quiet),
        keeps_up=all(run.measured is not None and run.measured.keeps_up for run in counted),
        figures={name: Spread(statistics.median(each), min(each), max(each)) for name, each in found.items()},
    )


def _figures(run: Run, base: Run | None) -> dict[str, float]:
    assert run.measured is not None
    measured = run.measured
    figures = {"rate": measured.rate, "cpu_us": measured.cpu_us, **measured.figures}
    if base is not None and base.measured is not None:
        there = base.measured.figures
        figures |= {
            f"added_{name}": figures[name] - there[name] for name in _ADDED if name in figures and name in there
        }
    return figures
