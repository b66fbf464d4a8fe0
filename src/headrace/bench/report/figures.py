"""What of a document is drawn, and how: one function for each chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from headrace.bench.measurement import METRICS
from headrace.bench.report.charts import Axis, Line, Span, lines, marks, spans, steps
from headrace.bench.report.scale import count, milliseconds, percent, reach, seconds
from headrace.bench.result import figure, percentile_name

Result = dict[str, Any]

_BINS: Final = 40
_POINTS: Final = 200
_SECONDS: Final = Axis(seconds)


class Figure(msgspec.Struct, frozen=True):
    """One chart with its words."""

    title: str
    drawing: str
    note: str = ""
    legend: Sequence[str] = ()
    """What the colours mean where they are not those of the series."""


def spreads(results: Sequence[Result], names: Sequence[str], percentiles: Sequence[float]) -> Iterator[Figure]:
    """For each quantity in milliseconds the median and the percentiles of every series, one below the other."""
    upper = sorted(each for each in percentiles if each > 50)
    for name in names:
        metric = METRICS[name]
        if metric.unit != "ms":
            continue
        rows: list[Span] = []
        for number, result in enumerate(results):
            values = [figure(result, statistic, metric) for statistic in ("median", *map(percentile_name, upper))]
            known = [value for value in values if value is not None]
            if known:
                words = [f"p{each:g} {milliseconds(value)}" for each, value in zip((50, *upper), known, strict=True)]
                title = f"{result['label']}: {', '.join(words)}"
                rows.append(Span(number, f"{milliseconds(known[0])} · {result['label']}", known, title))
        if rows:
            marks_said = ", ".join(f"p{each:g}" for each in upper)
            yield Figure(f"{metric.title} ({name.upper()})", spans(rows), f"dot: median; marks: {marks_said}")


def first_tokens(results: Sequence[Result]) -> Figure | None:
    """How the times to the first token are spread."""
    samples = [[value for value in result["samples"]["ttft_ms"] if value > 0] for result in results]
    every = [value for sample in samples for value in sample]
    if not every:
        return None
    low, high = reach(every, zero=False)
    edges = [low * (high / low) ** (place / _BINS) for place in range(_BINS + 1)]
    found = [Line(number, _shares(sample, edges)) for number, sample in enumerate(samples) if sample]
    return Figure(
        "Time to first token", steps(found, low, high, Axis(milliseconds), Axis(percent)), "share of the requests"
    )


def _shares(sample: Sequence[float], edges: Sequence[float]) -> list[tuple[float, float]]:
    counts = [0] * (len(edges) - 1)
    width = math.log(edges[1] / edges[0])
    for value in sample:
        counts[min(len(counts) - 1, max(0, int(math.log(value / edges[0]) / width)))] += 1
    return [(edge, 100 * each / len(sample)) for (edge, _), each in zip(pairwise(edges), counts, strict=True)]


def gaps(results: Sequence[Result]) -> Figure | None:
    """How the gaps between chunks are spread; those of no time at all have no place on a logarithm."""
    found: list[Line] = []
    for number, result in enumerate(results):
        histogram = result["itl_histogram"]
        if drawn := sum(each["count"] for each in histogram["counts"]):
            found.append(Line(number, _bins(histogram, drawn)))
    if not found:
        return None
    starts = [at for line in found for at, _ in line.points]
    drawing = steps(found, min(starts), max(starts), Axis(milliseconds), Axis(percent))
    return Figure("Gaps between chunks", drawing, "share of the gaps between two reads")


def _bins(histogram: dict[str, Any], total: int) -> list[tuple[float, float]]:
    """All bins from the first to the last that has any, and an empty one as the end."""
    ratio = 10 ** (1 / histogram["bins_per_decade"])
    counts = {each["from_ms"]: each["count"] for each in histogram["counts"]}
    points: list[tuple[float, float]] = []
    for start, following in pairwise([*counts, math.inf]):
        points.append((start, 100 * counts[start] / total))
        if following > start * ratio * 1.01:
            points.append((start * ratio, 0.0))
    return points


def over_time(results: Sequence[Result]) -> Iterator[Figure]:
    """Chunks per second with the failures, and requests at the same time."""
    tracks = [_Track(number, result["timeline"]) for number, result in enumerate(results) if result["timeline"]]
    if not tracks:
        return
    longest = max(track.end for track in tracks)
    drawing = lines([track.rate for track in tracks], _SECONDS, Axis(count))
    failed = [mark for track in tracks for mark in track.failed]
    if failed:
        drawing += marks(failed, longest)
    yield Figure("Chunks per second over time", drawing, "time in which the series ran")
    running = [track.running for track in tracks]
    yield Figure("Requests at the same time", lines(running, _SECONDS, Axis(count)), "running, over time")


class _Track:
    """One time line in at most `_POINTS` points."""

    def __init__(self, series: int, columns: dict[str, list[float]]) -> None:
        self.failed: list[tuple[float, str]] = []
        rate: list[tuple[float, float]] = []
        running: list[tuple[float, float]] = []
        self.end = 0.0
        width = math.ceil(len(columns["seconds"]) / _POINTS)
        for start in range(0, len(columns["seconds"]), width):
            part = {name: column[start : start + width] for name, column in columns.items()}
            length = sum(part["seconds"])
            if not length:
                continue
            middle = self.end + length / 2
            self.end += length
            rate.append((middle, sum(part["chunks"]) / length))
            running.append((middle, sum(part["running"]) / len(part["running"])))
            if failures := sum(part["failed"]):
                self.failed.append((middle, f"{failures:g} failed at {seconds(middle)}"))
        self.rate, self.running = Line(series, rate), Line(series, running)


def sweeps(results: Sequence[Result]) -> Iterator[Figure]:
    """What more requests at the same time do, for every model that was asked with several numbers of them."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(" · ".join(filter(None, (result["target"], result["model_id"]))), []).append(result)
    swept = {name: group for name, group in groups.items() if len(group) > 1}
    if not swept:
        return
    levels = sorted({result["max_concurrency"] for group in swept.values() for result in group})
    places = [float(place) for place in range(len(levels))]
    below = Axis(lambda place: str(levels[round(place)]))
    curves = list(_curves(swept, levels, "output_throughput"))
    legend = list(swept) if len(swept) > 1 else ()
    drawing = lines(curves, below, Axis(count), dots=True, places=places)
    yield Figure("Tokens per second in all", drawing, "by requests at the same time", legend)
    for name in ("ttft", "tpot", "e2el"):
        curves = [
            *_curves(swept, levels, f"median_{name}_ms"),
            *_curves(swept, levels, f"p99_{name}_ms", dashed=True),
        ]
        if curves:
            drawing = lines(curves, below, Axis(milliseconds), dots=True, places=places)
            yield Figure(f"{METRICS[name].title} ({name.upper()})", drawing, "line: median; dashed: p99", legend)


def _curves(
    groups: dict[str, list[Result]], levels: Sequence[int], name: str, *, dashed: bool = False
) -> Iterator[Line]:
    for number, group in enumerate(groups.values()):
        points = [
            (float(levels.index(result["max_concurrency"])), value)
            for result in group
            if (value := result.get(name)) is not None
        ]
        if points:
            yield Line(number, sorted(points), dashed, several=True)
