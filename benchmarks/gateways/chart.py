"""The chart: bars for each server, as plain SVG that is readable on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.gateways.summary import Row, Spread

_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 15px; }
.value { font-size: 12px; fill: #57606a; }
.slow { fill: #6ea8d8; } .fast { fill: #1f6fb2; } .ours.slow { fill: #f0a35e; } .ours.fast { fill: #d9730d; }
.whisker { stroke: #24292f; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .value { fill: #9da7b1; } .whisker { stroke: #e6edf3; }
}"""
_LEFT: Final = 120
_WIDTH: Final = 420
_RIGHT: Final = 220
_BAR: Final = 15
_ROW: Final = 44
_TOP: Final = 56
_OURS: Final = "headrace"
_PANELS: Final = (
    ("CPU µs per event: lower and higher rate", "cpu_us", "{:.1f} µs"),
    ("99th percentile of the latency, ms", "latency_p99_ms", "{:.2f} ms"),
)


def chart(rows: Sequence[Row]) -> str:
    """Two panels, one beside the other, of the paced loads."""
    paced = [row for row in rows if row.load.startswith("paced/")]
    # Without a server there is no CPU, only the rig's own latency.
    names = list(dict.fromkeys(row.server for row in paced if row.figures["cpu_us"].median))
    groups = {name: sorted((row for row in paced if row.server == name), key=_rate) for name in names}
    panel = _LEFT + _WIDTH + _RIGHT
    height = _TOP + _ROW * len(groups) + 12
    drawn = "\n".join(
        _panel(place * panel, title, figure, form, groups) for place, (title, figure, form) in enumerate(_PANELS)
    )
    size = f'width="{panel * len(_PANELS)}" height="{height}" viewBox="0 0 {panel * len(_PANELS)} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{_STYLE}</style>\n{drawn}\n</svg>\n'


def _rate(row: Row) -> int:
    return int(row.load.partition("/")[2])


def _panel(left: int, title: str, figure: str, form: str, groups: dict[str, list[Row]]) -> str:
    # Not the slowest server's: a linear scale up to it would leave the others without a bar.
    values = sorted(row.figures[figure].median for group in groups.values() for row in group)
    top = min(values[-1], 4 * values[len(values) // 2]) if values else 1.0
    parts = [f'<text class="title" x="{left + _LEFT}" y="26">{escape(title)}</text>']
    for number, (name, group) in enumerate(groups.items()):
        y = _TOP + number * _ROW
        parts.append(f'<text x="{left + _LEFT - 10}" y="{y + _BAR + 4}" text-anchor="end">{escape(name)}</text>')
        for place, row in enumerate(group[:2]):
            kind = ("ours " if name == _OURS else "") + ("slow", "fast")[place]
            late = "" if row.keeps_up else ", not kept up"
            label = f"{form.format(row.figures[figure].median)} at {_rate(row):,}/s{late}"
            parts.append(_bar(left + _LEFT, y + place * (_BAR + 3), row.figures[figure], top or 1.0, kind, label))
    return "\n".join(parts)


def _bar(x: int, y: int, figure: Spread, top: float, kind: str, label: str) -> str:
    """A bar with a whisker from the lowest to the highest run; one that does not fit ends open, with its number."""
    median, low, high = (min(each / top, 1.0) * _WIDTH for each in (figure.median, figure.low, figure.high))
    middle = y + _BAR / 2
    more = " →" if figure.median > top else ""
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{max(median, 1):.1f}" height="{_BAR}" rx="2"/>'
        f'<line class="whisker" x1="{x + low:.1f}" x2="{x + high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<text class="value" x="{x + max(median, high) + 6:.1f}" y="{y + 12}">{escape(label + more)}</text>'
    )
