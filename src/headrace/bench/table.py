"""A document as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.bench.bootstrap import CONFIDENCE
from headrace.bench.compare import Comparison, Finding
from headrace.bench.measurement import METRICS
from headrace.bench.result import Document, figure, percentile_name

_STYLES: Final = {"better": "green", "worse": "bold red", "same": "", "unknown": "dim"}
_WORDS: Final = {"same": "no change", "unknown": "too few values"}


def summary(document: Document) -> Group:
    """Counts and rates, distributions, failures and warnings of all series."""
    results: list[dict[str, Any]] = document["results"]
    parts: list[RenderableType] = [_rates(document, results)]
    for result in results:
        parts += ["", Text(result["label"], style="bold"), _distributions(document, result)]
    parts += _failures(results)
    parts += map(_note, document["warnings"])
    return Group(*parts)


def _rates(document: Document, results: Sequence[dict[str, Any]]) -> Table:
    table = _table("", "ok", "failed", "seconds", "req/s", "tok/s", "chunks/s")
    if document["goodput_ms"]:
        table.add_column("good req/s", justify="right")
    rates = ["request_throughput", "output_throughput", "chunk_throughput"]
    rates += ["request_goodput"] if document["goodput_ms"] else []
    for result in results:
        failed = Text(str(result["failed"]), style="bold red" if result["failed"] else "")
        cells = [number(result[name]) for name in ("duration", *rates)]
        table.add_row(result["label"], str(result["completed"]), failed, *cells)
    return table


def _distributions(document: Document, result: dict[str, Any]) -> Table:
    statistics = ["mean", "std", "min", *map(percentile_name, document["percentiles"]), "max"]
    table = _table("", *statistics)
    for name in document["metrics"]:
        metric = METRICS[name]
        cells = [number(figure(result, statistic, metric)) for statistic in statistics]
        table.add_row(f"{name.upper()} {metric.unit}", *cells)
    return table


def _failures(results: Sequence[dict[str, Any]]) -> Iterator[RenderableType]:
    for result in results:
        for kind, problem in result["errors"].items():
            line = Text(f"{problem['count']} × {kind}", style="red")
            yield line.append(f"  {result['label']}: {problem['message']}", style="default")
        if result["aborted"]:
            yield Text(f"{result['aborted']} × stopped  {result['label']}: running when the run was stopped")


def comparison_table(comparison: Comparison) -> Group:
    """What changed, and what is only noise."""
    parts: list[RenderableType] = []
    for label, findings in groupby(comparison.findings, key=lambda finding: finding.label):
        table = _table("", "before", "now", "change", f"difference ({CONFIDENCE:.0%})", "")
        for finding in findings:
            table.add_row(*_cells(finding))
        parts += ["", Text(f"{label}, compared with before", style="bold"), table]
    parts += map(_note, comparison.notes)
    return Group(*parts)


def _note(words: str) -> Text:
    return Text("Note: ", style="yellow").append(f"{words}.", style="default")


def _cells(finding: Finding) -> Iterator[RenderableType]:
    yield f"{finding.what} {finding.unit}"
    yield number(finding.old)
    yield number(finding.new)
    yield "" if finding.change is None else f"{finding.change:+.1%}"
    yield interval(finding)
    yield Text(_WORDS.get(finding.verdict, finding.verdict), style=_STYLES[finding.verdict])


def interval(finding: Finding) -> str:
    """The confidence interval of the difference."""
    if finding.low is None or finding.high is None:
        return ""
    return f"{number(finding.low, sign=True)} … {number(finding.high, sign=True)}"


def number(value: float | None, *, sign: bool = False) -> str:
    """With three digits at least, and no more after the point than say something."""
    if value is None:
        return "–"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:{'+' if sign else ''},.{digits}f}"


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table
