from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from headrace.bench.compare import compare
from headrace.bench.plan import Load
from headrace.bench.report import page
from headrace.bench.report.scale import Scale, count, milliseconds, percent, reach, seconds
from tests.bench.documents import made, plan

_VOID = {"meta", "input", "br"}
_MAY_REFER = ("href", "src", "action", "data", "xlink:href", "srcset", "style")


class _Page(HTMLParser):
    """Fails where a browser would have to guess."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def names(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


SWEEP = plan("a", "b", levels=(1, 10, 50))
FULL = [{"seed": seed, "ttft": 0.05 * (seed + 1), "failed": seed} for seed in range(6)]


def full() -> Any:
    return made(SWEEP, filling=FULL)


@pytest.mark.parametrize(
    "document",
    [
        made(),
        made(filling=[]),
        made(filling=[{"count": 0, "failed": 3}]),
        made(filling=[{"count": 1}]),
        made(plan(goodput={"ttft": 1.0}, load=Load(num_prompts=None, duration=30, request_rate=5, rounds=3))),
        made(plan(*"abcdefghijkl")),
        full(),
    ],
    ids=["one", "never ran", "all failed", "one request", "by time", "twelve", "sweep"],
)
def test_every_document_is_a_page_that_needs_nothing_else(document):
    text = page(document)
    found = _Page(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "object", "base"} & {name for name, _ in found.tags}
    assert not [attributes for _, attributes in found.tags for name in _MAY_REFER if name in attributes]
    styles = text.partition("<style>")[2].partition("</style>")[0]
    assert not re.search(r"url\(|@import|http", styles)
    for number in re.findall(r'(?:points|x\d?|y\d?|cx|cy)="([^"]*)"', text):
        assert "nan" not in number and "inf" not in number


def test_a_page_says_what_was_measured_and_how():
    text = _Page(page(full())).text
    assert "openai.chat · 100 requests each" in text
    for words in ("a · 1 at a time", "b · 50 at a time", "Time to first token", "Gaps between chunks", "incomplete"):
        assert words in text
    assert "http://a:8000/v1/chat/completions" in text


def test_every_series_has_its_colour_and_can_be_hidden():
    found = _Page(page(full()))
    assert [box["id"] for box in found.names("input")] == [f"t{number}" for number in range(6)]
    swatches = [attributes["class"] for attributes in found.names("i")][:6]
    assert len(set(swatches)) == 6
    style = page(full()).partition("<style>")[2]
    assert all(f"#t{number}:not(:checked)) .s{number}" in style for number in range(6))


def test_more_series_than_colours_look_different_still():
    found = _Page(page(made(plan(*"abcdefghijkl"), filling=[{}] * 12)))
    swatches = [attributes["class"] for attributes in found.names("i")]
    assert len(swatches) == len(set(swatches)) == 12


def test_a_sweep_has_charts_with_a_legend_and_nothing_else_has():
    assert "With more requests at the same time" in page(full())
    assert "With more requests at the same time" not in page(made(plan("a", "b")))
    assert page(full()).count('<p class="legend">') >= 2
    alone = made(plan("a", levels=(1, 10)), filling=[{}, {}])
    assert '<p class="legend">' not in page(alone)


def test_words_of_others_stay_words():
    text = page(made(plan("<b>x"), filling=[{"failed": 1}]))
    assert "<b>x" not in text
    assert "cut &lt;here&gt; &amp; there" in text


def test_failures_are_on_the_time_line():
    document = made(filling=[{"count": 50, "failed": 50}])
    assert 'class="failure"' in page(document)
    assert 'class="failure"' not in page(made())


def test_a_comparison_is_on_the_page():
    new = made(filling=[{"ttft": 0.2}])
    text = _Page(page(new, compare(made(), new))).text
    assert "Compared with before" in text
    assert "worse" in text
    only_notes = compare(made(plan("a", "b"), filling=[{}]), made(plan("c", "d")))
    assert "there is no such series" in _Page(page(made(plan("c", "d")), only_notes)).text


def test_warnings_are_on_top():
    document = made() | {"warnings": ["this client was busy"]}
    assert "this client was busy." in page(document)


def test_a_stopped_run_says_so():
    assert "stopped early" in page(made() | {"interrupted": True})


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0, 0.3, False, [0, 0.1, 0.2, 0.3]),
        (0, 47, False, [0, 10, 20, 30, 40]),
        (40, 60, True, [40, 45, 50, 55, 60]),
        (0.5, 2_000, True, [1, 10, 100, 1000]),
        (5, 5, False, [5]),
    ],
)
def test_marks_beside_an_axis_are_round_and_within_it(low, high, log, ticks):
    assert Scale(low, high, 0, 100, log).ticks(5) == pytest.approx(ticks)


def test_a_place_is_where_its_value_belongs():
    assert [Scale(0, 10, 100, 200)(value) for value in (0, 5, 10, 99, -1)] == [100, 150, 200, 200, 100]
    assert Scale(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Scale(3, 3, 0, 100)(3) == 50


def test_a_range_holds_all_values():
    assert reach([]) == (0, 1)
    assert reach([0.0, 2.0]) == (0, pytest.approx(2.1))
    assert reach([10.0, 20.0], zero=False) == pytest.approx((10 / 1.1, 22))
    assert reach([], zero=False) == (0.1, 1)


def test_values_are_written_with_the_unit_that_fits():
    assert [milliseconds(value) for value in (0, 0.05, 12.34, 1500)] == ["0 ms", "50 µs", "12.3 ms", "1.5 s"]
    assert [seconds(value) for value in (5, 300)] == ["5 s", "5 min"]
    assert [count(value) for value in (0.5, 120, 45_000, 1_200_000)] == ["0.5", "120", "45k", "1.2M"]
    assert percent(12.345) == "12.3 %"
