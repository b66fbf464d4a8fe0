"""What came out, in words: tables for the terminal and for the page that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benchmarks.gateways.rounds import Run
from benchmarks.gateways.servers.base import Server
from benchmarks.gateways.summary import Row, Spread

_REFERENCE: Final = "nginx"
Cells = Callable[[Row, Row | None], list[str]]
"""What a table says of a row, given the one of nginx under the same load."""


def tables(rows: Sequence[Row]) -> str:
    """All tables that have rows."""
    made = [
        _table(title, columns, [row for row in rows if row.load.startswith(loads)], cells, rows)
        for title, loads, columns, cells in _TABLES
    ]
    return "\n\n".join(each for each in made if each)


def _cost(row: Row, reference: Row | None) -> list[str]:
    return [
        f"{row.figures['rate'].median:,.0f}",
        spread(row.figures["cpu_us"], 1),
        _ratio(row, reference, "cpu_us"),
        *(_signed(row, f"added_latency_{each}_ms") for each in ("p50", "p99")),
        f"{row.figures['latency_p99_ms'].median:.2f}",
        f"{row.figures['together'].median:.1%}",
    ]


def _saturation(row: Row, reference: Row | None) -> list[str]:
    return [spread(row.figures["rate"], 0), _ratio(row, reference, "rate"), spread(row.figures["cpu_us"], 2)]


def _ttft(row: Row, _: Row | None) -> list[str]:
    return [
        spread(row.figures["ttft_p50_ms"], 2),
        spread(row.figures["ttft_p99_ms"], 2),
        *(_signed(row, f"added_ttft_{each}_ms") for each in ("p50", "p99")),
    ]


def _rss(row: Row, reference: Row | None) -> list[str]:
    return [spread(row.figures["rss_kb"], 0), _ratio(row, reference, "rss_kb"), spread(row.figures["rss_mb"], 0)]


def _event(row: Row, _: Row | None) -> list[str]:
    return [f"{row.figures['rate'].median:,.0f}", spread(row.figures["cpu_us"], 1)]


def _resume(row: Row, _: Row | None) -> list[str]:
    return [spread(row.figures[f"first_byte_{each}_ms"], 2) for each in ("p50", "p99")]


_TABLES: Final[Sequence[tuple[str, tuple[str, ...], Sequence[str], Cells]]] = (
    (
        "A token at a steady pace: 100 streams, events/s in all",
        ("paced",),
        ("events/s", "CPU µs/event", "× nginx", "added p50 ms", "added p99 ms", "p99 ms", "together"),
        _cost,
    ),
    ("As fast as they go: 50 streams", ("saturation",), ("events/s", "× nginx", "CPU µs/event"), _saturation),
    ("Time to first token", ("ttft",), ("p50 ms", "p99 ms", "added p50 ms", "added p99 ms"), _ttft),
    ("Memory of an open stream", ("rss",), ("KB/stream", "× nginx", "MB in all"), _rss),
    ("Many readers of one stream", ("fanout",), ("events/s", "CPU µs/event"), _event),
    ("Resuming in an answer of 1,000 tokens", ("resume",), ("first byte p50 ms", "p99 ms"), _resume),
    ("Few streams and many, short ones and long ones", ("streams", "length"), ("events/s", "CPU µs/event"), _event),
)


def _table(title: str, columns: Sequence[str], found: Sequence[Row], cells: Cells, rows: Sequence[Row]) -> str:
    if not found:
        return ""
    references = {row.load: row for row in rows if row.server == _REFERENCE}
    lines = [["server", "load", *columns, ""]]
    lines += (
        [row.server, row.load, *cells(row, references.get(row.load)), _marks(row)]
        for row in sorted(found, key=lambda row: _order(row.load))
    )
    return f"### {title}\n\n{aligned(lines)}"


def _order(load: str) -> tuple[str, int]:
    name, _, size = load.partition("/")
    return name, int(size or 0)


def _marks(row: Row) -> str:
    marks = [] if row.quiet else ["disturbed"]
    return ", ".join(marks if row.keeps_up else [*marks, "does not keep up"])


def spread(figure: Spread, digits: int) -> str:
    """Median, and lowest and highest where they differ."""
    median, low, high = (f"{each:,.{digits}f}" for each in (figure.median, figure.low, figure.high))
    return median if low == high else f"{median} ({low} to {high})"


def _ratio(row: Row, reference: Row | None, name: str) -> str:
    if reference is None or not reference.figures[name].median or not row.figures[name].median:
        return ""
    return f"{row.figures[name].median / reference.figures[name].median:.2f}"


def _signed(row: Row, name: str) -> str:
    return f"{row.figures[name].median:+.2f}" if name in row.figures else ""


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown that can be read as it is; the first line is its head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    head, *body = (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body])


def unmeasured(servers: Sequence[Server], runs: Sequence[Run]) -> dict[str, str]:
    """The servers that have no figures, and why."""
    found = {run.server for run in runs if run.good}
    why = {run.server: run.failure for run in runs if run.failure}
    return {
        server.name: why.get(server.name, "it is not installed: --install")
        for server in servers
        if server.name not in found
    }


def page(
    rows: Sequence[Row],
    servers: Mapping[str, Mapping[str, str]],
    machine: Mapping[str, str],
    missing: Mapping[str, str],
) -> str:
    """The page that is kept."""
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    listed = aligned(
        [["server", "version", "configuration"], *([n, s["version"], s["how"]] for n, s in servers.items())]
    )
    lost = "".join(f"\nNot measured: {name}: {why.splitlines()[0]}" for name, why in missing.items())
    return f"""# Gateways: what a token costs on its way

![CPU for each event, and what it adds to the latency](gateways.svg)

`scripts/bench gateways --save`: a mock stamps every token; a server, alone on one core, hands it on; a client on
the other core, with the mock, checks that each arrives once, in order, as an event of its own, and the hash of all.
Medians, with the lowest and the highest run. "Added" is less what going without a server takes in the same round.
"Together" are events that came in one read with the one before: the first of the two has waited. `direct` is no
server: its latency is the rig's own, and its saturation the rig's limit, which servers that pass bytes on reach
too: without gaps the mock writes up to 64 KB at once, and they do not look inside. CPU is of all processes of the
server.

{facts}

{tables(rows)}

### Servers

{listed}
{lost}
"""
