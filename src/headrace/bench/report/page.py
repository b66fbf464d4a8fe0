"""The page: a document's figures, charts and words, put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from headrace.bench.compare import Comparison
from headrace.bench.measurement import METRICS
from headrace.bench.report.charts import colour
from headrace.bench.report.figures import Figure, first_tokens, gaps, over_time, spreads, sweeps
from headrace.bench.report.scale import seconds
from headrace.bench.result import Document, figure, percentile_name
from headrace.bench.table import interval, number

_WORDS: Final = {"same": "no change", "unknown": "too few values"}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def page(document: Document, comparison: Comparison | None = None) -> str:
    """The whole page."""
    results: list[dict[str, Any]] = document["results"]
    title = f"headrace bench: {', '.join(dict.fromkeys(result['target'] for result in results))}"
    style = files(__package__ or "").joinpath("style.css").read_text(encoding="utf-8")
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title><style>{style}{_toggles(len(results))}</style></head><body>",
            *_body(document, results, comparison),
            "</body></html>\n",
        )
    )


def _toggles(series: int) -> str:
    """A series whose box is not ticked is not drawn."""
    return "".join(f"body:has(#t{each}:not(:checked)) .s{each}{{display:none}}" for each in range(series))


def _body(document: Document, results: Sequence[dict[str, Any]], comparison: Comparison | None) -> Iterator[str]:
    yield f"<header><h1>headrace bench</h1><p>{escape(_about(document))}</p></header><main>"
    yield _notes(document)
    yield _section("Results", _overview(document, results))
    if comparison is not None:
        yield _section("Compared with before", _compared(comparison))
    yield _section("Latency", _grid(spreads(results, document["metrics"], document["percentiles"]), "narrow"))
    yield _section("Distributions", _grid([first_tokens(results), gaps(results)]))
    yield _section("With more requests at the same time", _grid(sweeps(results)))
    yield _section("Over time", _grid(over_time(results)))
    yield _section("Failures", _failures(results))
    yield _section("All figures", _figures(document, results))
    yield _section("Settings", _settings(document))
    yield "</main>"


def _about(document: Document) -> str:
    load = document["load"]
    parts = [document["date"].replace("T", " ").replace("+00:00", " UTC"), document["backend"]]
    parts.append(f"{load['num_prompts']} requests each" if load["num_prompts"] else f"{seconds(load['duration'])} each")
    if load["request_rate"] != "inf":
        parts.append(f"{load['request_rate']:g} requests per second")
    if load["rounds"] > 1:
        parts.append(f"{load['rounds']} rounds in turn")
    if document["interrupted"]:
        parts.append("stopped early")
    return " · ".join(parts)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _grid(found: Iterable[Figure | None], kind: str = "") -> str:
    drawn = "".join(_figure(each) for each in found if each is not None)
    return f'<div class="grid {kind}">{drawn}</div>' if drawn else ""


def _figure(figure: Figure) -> str:
    legend = "".join(f"<span>{_swatch(place)}{escape(name)}</span>" for place, name in enumerate(figure.legend))
    words = f"{escape(figure.title)}<small>{escape(figure.note)}</small>"
    legend = f'<p class="legend">{legend}</p>' if legend else ""
    return f"<figure><figcaption>{words}</figcaption>{legend}{figure.drawing}</figure>"


def _swatch(place: int) -> str:
    return f'<i class="swatch {colour(place)}"></i>'


def _notes(document: Document) -> str:
    return "".join(f'<p class="note">{escape(warning)}.</p>' for warning in document["warnings"])


def _overview(document: Document, results: Sequence[dict[str, Any]]) -> str:
    heads = ["Series", "ok", "failed", "req/s", "tok/s", "chunks/s", "in batches"]
    shown = [name for name in ("ttft", "tpot", "e2el") if name in document["metrics"]]
    heads += [f"{name.upper()} {part}" for name in shown for part in ("median", "p99")]
    if document["goodput_ms"]:
        heads.append("good req/s")
    rows = [_overview_row(document, result, place, shown) for place, result in enumerate(results)]
    return _table(heads, rows)


def _overview_row(document: Document, result: dict[str, Any], place: int, shown: Sequence[str]) -> list[str]:
    box = f'<input type="checkbox" id="t{place}" checked>'
    toggle = f"<label>{box}{_swatch(place)}{escape(result['label'])}</label>"
    failed = f'<span class="bad">{result["failed"]}</span>' if result["failed"] else "0"
    cells = [toggle, str(result["completed"]), failed]
    cells += [number(result[name]) for name in ("request_throughput", "output_throughput", "chunk_throughput")]
    cells.append(_share(result["chunks_in_same_read"], result["total_chunks"]))
    for name in shown:
        cells += [_with_unit(figure(result, statistic, METRICS[name])) for statistic in ("median", "p99")]
    if document["goodput_ms"]:
        cells.append(number(result["request_goodput"]))
    return cells


def _share(count: int, of: int) -> str:
    return f"{count / of:.0%}" if of else number(None)


def _with_unit(value: float | None) -> str:
    return number(value) if value is None else f"{number(value)} ms"


def _figures(document: Document, results: Sequence[dict[str, Any]]) -> str:
    statistics = ["mean", "std", "min", *map(percentile_name, document["percentiles"]), "max"]
    rows = [
        [escape(result["label"]) if place == 0 else "", f"{name.upper()} {METRICS[name].unit}"]
        + [number(figure(result, statistic, METRICS[name])) for statistic in statistics]
        for result in results
        for place, name in enumerate(document["metrics"])
    ]
    return _table(["Series", "", *statistics], rows)


def _failures(results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [escape(result["label"]), f'<span class="bad">{problem["count"]}</span>', kind, escape(problem["message"])]
        for result in results
        for kind, problem in result["errors"].items()
    ]
    return _table(["Series", "times", "kind", "the first one"], rows, words=True) if rows else ""


def _compared(comparison: Comparison) -> str:
    rows = [
        [
            escape(found.label) if place == 0 else "",
            f"{escape(found.what)} {escape(found.unit)}",
            number(found.old),
            number(found.new),
            "" if found.change is None else f"{found.change:+.1%}",
            interval(found),
            f'<span class="{found.verdict}">{_WORDS.get(found.verdict, found.verdict)}</span>',
        ]
        for _, findings in groupby(comparison.findings, key=lambda found: found.label)
        for place, found in enumerate(findings)
    ]
    heads = ["Series", "", "before", "now", "change", "difference, 99% interval", ""]
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in comparison.notes)
    return (_table(heads, rows) if rows else "") + notes


def _settings(document: Document) -> str:
    shown = {**document["load"], **{f"client {name}": value for name, value in document["client"].items()}}
    rows = [[escape(name), escape(str(value))] for name, value in shown.items() if value is not None]
    rows += [[escape(result["label"]), escape(result["url"])] for result in document["results"]]
    version = escape(f"headrace {document['version']}")
    return f"<details><summary>{version}, load and client</summary>{_table(['', ''], rows, words=True)}</details>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
