import io

import pytest
from rich.console import Console

from headrace.bench.compare import compare
from headrace.bench.plan import Load
from headrace.bench.progress import Progress
from headrace.bench.table import comparison_table, number, summary
from tests.bench.documents import fill, made, plan


def shown(renderable, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_result_fits_a_terminal_of_80_columns():
    text = shown(summary(made(plan("a", levels=(1, 100), goodput={"ttft": 1.0}), filling=[{"failed": 3}, {}])))
    lines = [line for line in text.splitlines() if "TTFT ms" in line or "1 at a time  " in line]
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "good req/s" in text
    assert "3 × incomplete  1 at a time: cut <here> & there" in text


def test_what_was_not_measured_is_a_dash():
    text = shown(summary(made(filling=[{"count": 0, "failed": 1}])))
    assert "–" in text


def test_a_run_that_was_stopped_says_what_it_left():
    found = made()
    found["results"][0]["aborted"] = 4
    assert "4 × stopped" in shown(summary(found))


def test_warnings_are_notes():
    found = made()
    found["warnings"] = ["this client was busy"]
    assert "Note: this client was busy." in shown(summary(found))


def test_a_comparison_fits_and_says_what_is_worse():
    text = shown(comparison_table(compare(made(), made(filling=[{"ttft": 0.2}]))))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "a · m, compared with before" in text
    assert sum("worse" in line for line in text.splitlines()) >= 2
    assert "no change" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0.000"),
        (0.1234, "0.123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (-5.0, "-5.00"),
    ],
)
def test_numbers_have_three_digits_at_least(value, text):
    assert number(value) == text


def test_a_difference_has_its_sign():
    assert number(1.5, sign=True) == "+1.50"


@pytest.mark.parametrize(
    ("load", "words"), [(Load(num_prompts=400), "200 done"), (Load(num_prompts=None, duration=30), "2 failed")]
)
def test_progress_is_one_line_on_a_terminal(load, words):
    found = plan("a", "b", load=load)
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with Progress(["first", "second"], load, console) as progress:
        measurement = _measurement(found)
        progress(1, measurement, 3.0)
        fill(measurement, count=7)
        progress(1, measurement, 3.1)  # too soon to draw again
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[2/2] second" in text
    assert words in text
    assert "207 done" not in text


def test_there_is_no_progress_where_there_is_no_terminal():
    console = Console(file=io.StringIO(), width=80)
    with Progress(["first"], Load(), console) as progress:
        progress(0, _measurement(plan()), 3.0)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def _measurement(found):
    from headrace.bench.run import Run

    (measurement, *_) = Run(found, lambda *_: None).measurements
    fill(measurement, count=198, failed=2)
    return measurement
