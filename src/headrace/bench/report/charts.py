"""Charts as SVG. The colour of a series is a class (`c0`, `c1`, …), so the style sheet decides it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import msgspec

from headrace.bench.report.scale import Format, Scale, count, milliseconds, reach

WIDTH: Final = 400
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 30
_ROW: Final = 34
_NARROW: Final = 290
_LONGEST: Final = 46
COLOURS: Final = 8
"""In the style sheet; further series have them again, in another way."""


class Line(msgspec.Struct, frozen=True):
    """Points of a series, or of several series that belong together."""

    series: int
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    several: bool = False
    """Whether it has points of several series: then it is not hidden with one of them."""


class Span(msgspec.Struct, frozen=True):
    """A row that shows how a quantity is spread: a dot, marks and the end."""

    series: int
    label: str
    values: Sequence[float]
    """In rising order; the first is the dot."""
    title: str


class Axis(msgspec.Struct, frozen=True):
    """How the values of an axis are written."""

    write: Format = count
    most: int = 5


def lines(found: Sequence[Line], x: Axis, y: Axis, *, dots: bool = False, places: Sequence[float] = ()) -> str:
    """Lines over a common range, from zero on. With `places` only these have a mark on the axis below."""
    across = Scale(*_range(found, 0, places), _LEFT, WIDTH - _RIGHT)
    up = Scale(*reach([value for line in found for _, value in line.points]), HEIGHT - _BOTTOM, _TOP)
    drawn = [_grid(up, y), _below(across, x, HEIGHT - _BOTTOM, places=places)]
    for line in found:
        points = [(across(at), up(value)) for at, value in line.points]
        drawn.append(_polyline(line, points))
        if dots:
            drawn += [
                f'<circle {_of(line)} cx="{at:.1f}" cy="{value:.1f}" r="3.5">'
                f"<title>{escape(y.write(raw[1]))}</title></circle>"
                for (at, value), raw in zip(points, line.points, strict=True)
            ]
    return _svg(drawn)


def _range(found: Sequence[Line], place: int, places: Sequence[float]) -> tuple[float, float]:
    if places:
        room = (places[-1] - places[0]) * 0.06 or 0.5
        return places[0] - room, places[-1] + room
    return 0.0, max((point[place] for line in found for point in line.points), default=0.0) or 1.0


def steps(found: Sequence[Line], low: float, high: float, x: Axis, y: Axis) -> str:
    """Histograms: each point is where a bin begins and its height; the last bin ends at `high`."""
    across = Scale(low, high, _LEFT, WIDTH - _RIGHT, log=True)
    up = Scale(*reach([value for line in found for _, value in line.points]), HEIGHT - _BOTTOM, _TOP)
    drawn = [_grid(up, y), _below(across, x, HEIGHT - _BOTTOM)]
    floor = HEIGHT - _BOTTOM
    for line in found:
        ends = [at for at, _ in line.points[1:]] + [high]
        corners = [
            corner
            for (at, value), end in zip(line.points, ends, strict=True)
            for corner in ((across(at), up(value)), (across(end), up(value)))
        ]
        if corners:
            outline = [(corners[0][0], floor), *corners, (corners[-1][0], floor)]
            drawn.append(f'<polygon {_of(line, " area")} points="{_joined(outline)}"/>')
            drawn.append(_polyline(line, outline))
    return _svg(drawn)


def spans(found: Sequence[Span], write: Format = milliseconds) -> str:
    """One row for each series, on a common axis from zero on. Narrower than the others."""
    height = len(found) * _ROW + _BOTTOM + 4
    across = Scale(*reach([span.values[-1] for span in found]), 6, _NARROW - 26)
    drawn = [_below(across, Axis(write, 3), height - _BOTTOM, top=4)]
    for row, span in enumerate(found):
        middle = row * _ROW + 26
        first, last = across(span.values[0]), across(span.values[-1])
        ticks = "".join(_upright(across(value), middle) for value in span.values[1:])
        drawn.append(
            f'<g class="span s{span.series}"><title>{escape(span.title)}</title>'
            f'<text x="6" y="{middle - 10}">{escape(_shortened(span.label, _LONGEST))}</text>'
            f'<g class="{colour(span.series)}">'
            f'<line x1="{first:.1f}" x2="{last:.1f}" y1="{middle}" y2="{middle}"/>{ticks}'
            f'<circle cx="{first:.1f}" cy="{middle}" r="5"/></g></g>'
        )
    return _svg(drawn, height, _NARROW)


def _upright(x: float, middle: float) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 5}" y2="{middle + 5}"/>'


def marks(at: Iterable[tuple[float, str]], highest: float) -> str:
    """A strip of marks, for what must not be overlooked, along the same axis as a chart of lines."""
    across = Scale(0.0, highest or 1.0, _LEFT, WIDTH - _RIGHT)
    drawn = [
        f'<rect class="failure" x="{across(place) - 1:.1f}" y="2" width="2" height="10">'
        f"<title>{escape(title)}</title></rect>"
        for place, title in at
    ]
    drawn.append(f'<text class="tick" x="{_LEFT - 6}" y="11" text-anchor="end">failed</text>')
    return _svg(drawn, 14)


def _grid(up: Scale, axis: Axis) -> str:
    drawn: list[str] = []
    for value in up.ticks(axis.most):
        y = up(value)
        drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(axis.write(value))}</text>'
        )
    return "".join(drawn)


def _below(across: Scale, axis: Axis, y: float, places: Sequence[float] = (), top: float | None = None) -> str:
    drawn = [f'<line class="axis" x1="{across.start}" x2="{across.stop}" y1="{y}" y2="{y}"/>']
    for value in places or across.ticks(axis.most):
        x = across(value)
        if top is not None:
            drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}"/>')
        drawn.append(
            f'<text class="tick" x="{x:.1f}" y="{y + 17}" text-anchor="middle">{escape(axis.write(value))}</text>'
        )
    return "".join(drawn)


def _polyline(line: Line, points: Sequence[tuple[float, float]]) -> str:
    extra = " dashed" if line.dashed else ""
    return f'<polyline {_of(line, extra)} points="{_joined(points)}"/>'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _of(line: Line, extra: str = "") -> str:
    """The classes of a line: its series, to be hidden by, and its colour."""
    series = "" if line.several else f"s{line.series} "
    return f'class="{series}{colour(line.series)}{extra}"'


def colour(series: int) -> str:
    """The classes that give something the colour of a series."""
    return f"c{series % COLOURS}{' again' if series >= COLOURS else ''}"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(drawn: Sequence[str], height: int = HEIGHT, width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(drawn)}</svg>'
