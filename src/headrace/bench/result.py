"""Measurements as the document that is saved, shown and compared; names as in `vllm bench serve` where it has them."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from headrace import __version__
from headrace.bench import strain
from headrace.bench.measurement import METRICS, Measurement, Metric
from headrace.bench.plan import Plan, Series, labels
from headrace.bench.run import Run
from headrace.bench.sample import Sample, thinned

FORMAT: Final = 1
KEPT: Final = 1_000
"""Values of each quantity that a document keeps, for later comparisons."""
_BINS_PER_DECADE: Final = 20
_SHORTEST_GAP_S: Final = 1e-5


class Selection(msgspec.Struct, frozen=True):
    """Which figures are wanted."""

    metrics: Sequence[str] = ("ttft", "tpot", "itl", "e2el", "tps")
    percentiles: Sequence[float] = (50, 90, 95, 99)


Document = dict[str, Any]


def document(plan: Plan, run: Run, selection: Selection, begun: datetime) -> Document:
    """Everything about a run as one JSON value. It holds no key and no prompt."""
    load = plan.load
    names = labels(plan.series)
    return {
        "tool": "headrace bench",
        "version": __version__,
        "format": FORMAT,
        "date": begun.isoformat(timespec="seconds"),
        "interrupted": run.interrupted,
        "backend": plan.shape.name,
        "load": {
            **msgspec.structs.asdict(load),
            "request_rate": _finite(load.request_rate),
            "burstiness": _finite(load.burstiness),
        },
        "goodput_ms": {name: seconds * 1000 for name, seconds in plan.goodput.items()},
        "metrics": list(selection.metrics),
        "percentiles": list(selection.percentiles),
        "client": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "loop": "uvloop" if "uvloop" in sys.modules else "asyncio",
        },
        "warnings": list(_warnings(run.measurements)),
        "results": [
            _result(plan, series, measurement, label, selection)
            for series, measurement, label in zip(plan.series, run.measurements, names, strict=True)
        ],
    }


def _result(plan: Plan, series: Series, measurement: Measurement, label: str, selection: Selection) -> dict[str, Any]:
    seconds = measurement.duration
    whole = measurement.input_tokens + measurement.output_tokens
    per_second = {
        "request_throughput": measurement.completed,
        "output_throughput": measurement.output_tokens,
        "total_token_throughput": whole,
        "chunk_throughput": measurement.live.chunks,
    }
    if plan.goodput:
        per_second["request_goodput"] = measurement.good
    return {
        "label": label,
        "target": series.target.name,
        "url": series.target.url,
        "model_id": series.model,
        "max_concurrency": series.max_concurrency,
        "request_rate": _finite(plan.load.request_rate),
        "duration": seconds,
        "completed": measurement.completed,
        "failed": measurement.failed,
        "incomplete": measurement.problems["incomplete"].count if "incomplete" in measurement.problems else 0,
        "aborted": measurement.aborted,
        "errors": {kind: msgspec.structs.asdict(problem) for kind, problem in sorted(measurement.problems.items())},
        "total_input_tokens": measurement.input_tokens,
        "total_output_tokens": measurement.output_tokens,
        "total_chunks": measurement.chunks,
        "usage_reported": measurement.counted,
        **{name: count / seconds if seconds else 0.0 for name, count in per_second.items()},
        "max_concurrent_requests": measurement.most_running,
        "connections": measurement.connections,
        "chunks_in_same_read": measurement.together,
        **_figures(measurement, selection),
        "client_cpu_share": measurement.strain.cpu_share,
        "client_late_ms": measurement.strain.late_s * 1000,
        "sampled": {name: each.stride for name, each in measurement.samples.items() if each.stride > 1},
        "samples": _samples(measurement),
        "itl_histogram": _histogram(measurement.samples["itl"]),
        "timeline": _timeline(measurement),
    }


def _figures(measurement: Measurement, selection: Selection) -> dict[str, float | None]:
    """`mean_ttft_ms`, `p99_ttft_ms` and so on; None where nothing was measured."""
    figures: dict[str, float | None] = {}
    for name in selection.metrics:
        metric = METRICS[name]
        summary = measurement.samples[name].summary(selection.percentiles)
        for statistic in ("mean", "median", "std", "min", "max"):
            value = None if summary is None else getattr(summary, statistic) * metric.factor
            figures[f"{statistic}_{metric.key}"] = value
        for percent in selection.percentiles:
            value = None if summary is None else summary.percentiles[percent] * metric.factor
            figures[f"{percentile_name(percent)}_{metric.key}"] = value
    return figures


def percentile_name(percent: float) -> str:
    """`p99`, `p99.9`."""
    return f"p{percent:g}"


def figure(result: Mapping[str, Any], statistic: str, metric: Metric) -> float | None:
    """One figure of a result."""
    return result.get(f"{statistic}_{metric.key}")


def _warnings(measurements: Sequence[Measurement]) -> Iterator[str]:
    yield from strain.warnings([measurement.strain for measurement in measurements])
    completed = sum(measurement.completed for measurement in measurements)
    uncounted = completed - sum(measurement.counted for measurement in measurements)
    if uncounted:
        yield (
            f"{uncounted} of {completed} answers came without usage: each of their chunks is counted as a token, and "
            "they have no time per token"
        )
    if any(measurement.hopeless for measurement in measurements):
        yield "a series was ended early, because all its requests would have failed alike"


def _samples(measurement: Measurement) -> dict[str, list[float]]:
    """Values in the order of their requests, for comparisons; of `itl` the mean of each request."""
    kept = {name: measurement.samples[name] for name in ("ttft", "tpot", "e2el")} | {"itl": measurement.request_itl}
    return {
        METRICS[name].key: [_rounded(value * METRICS[name].factor) for value in thinned(sample.kept, KEPT)]
        for name, sample in kept.items()
    }


def _histogram(sample: Sample) -> dict[str, Any]:
    """Counts of gaps by size, twenty sizes to a factor of ten; gaps of zero apart."""
    counts: dict[int, int] = {}
    for value in sample.kept:
        place = math.floor(math.log10(max(value, _SHORTEST_GAP_S)) * _BINS_PER_DECADE)
        counts[place] = counts.get(place, 0) + sample.stride
    return {
        "bins_per_decade": _BINS_PER_DECADE,
        "zero": sample.zeros,
        "counts": [
            {"from_ms": 10 ** (place / _BINS_PER_DECADE + 3), "count": count} for place, count in sorted(counts.items())
        ],
    }


def _timeline(measurement: Measurement) -> dict[str, list[float]]:
    """Columns: the seconds of each point, and what there was in it."""
    measurement.timeline.flush()
    points = measurement.timeline.points
    return (
        {name: [_rounded(getattr(point, name)) for point in points] for name in points[0].__struct_fields__}
        if points
        else {}
    )


def _rounded(value: float) -> float:
    """To six digits: more is noise, and makes documents long."""
    return float(f"{value:.6g}")


def _finite(value: float) -> float | str:
    """JSON has no infinity; vLLM writes it so."""
    return value if math.isfinite(value) else "inf"
