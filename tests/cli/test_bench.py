from __future__ import annotations

from pathlib import Path

import pytest
from typer.main import get_command

from headrace.bench.measurement import METRICS
from headrace.bench.outcome import FAILURES
from headrace.bench.shapes import SHAPES
from headrace.cli import main
from headrace.cli.bench import app

DOCUMENT = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")


def test_the_help_has_examples_that_fit_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bench", "--help"]) == 0
    examples = capsys.readouterr().out.partition(" Examples")[2].strip().splitlines()
    assert len(examples) > 5
    assert all("headrace bench" in line for line in examples)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "127.0.0.1:8000"], "expected http://HOST:PORT"),
        (["--target", "a=http://h", "--target", "a=http://g"], "a name of its own"),
        (["--max-concurrency", "0"], "--max-concurrency: expected whole numbers"),
        (["--request-rate", "fast"], "--request-rate: expected a number"),
        (["--burstiness", "0"], "--burstiness: expected a number"),
        (["--duration", "soon"], "--duration: expected a duration"),
        (["--goodput", "ttft"], "--goodput: expected such as"),
        (["--goodput", "ttft:1", "itl:1"], "got 'itl:1'"),
        (["extra"], "unexpected argument 'extra'"),
        (["--header", "x"], "--header: expected NAME:VALUE"),
        (["--extra-body", "{"], "--extra-body: expected a JSON object"),
        (["--percentile-metrics", "x"], "--percentile-metrics: there is no 'x'"),
        (["--metric-percentiles", "x"], "--metric-percentiles: expected numbers"),
        (["--dataset-path", "/nonexistent"], "--dataset-path: /nonexistent cannot be read"),
        (["--compare", "/nonexistent"], "--compare: /nonexistent cannot be read"),
        (["--body", "/nonexistent", "--shape", "sse"], "--body: /nonexistent cannot be read"),
        (["--text-path", "a"], "go with --shape sse"),
        (["--shape", "native", "--ignore-eos"], "--ignore-eos: the shape native has no place for it"),
        (
            ["--shape", "anthropic.messages", "--output-len", "0"],
            "--output-len: the shape anthropic.messages needs one",
        ),
        (["--shape", "sse", "--extra-body", '{"a": 1}'], "--extra-body: the shape sse has no place for it"),
        (["--num-prompts", "0"], "--num-prompts"),
        (["--colour"], "No such option"),
    ],
)
def test_wrong_usage_is_said_in_one_line_and_2(capsys, arguments, words):
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.replace("\nTry 'headrace bench --help'.", "").splitlines()) == 1


def test_the_document_has_every_option():
    shown = [option for option in get_command(app).params if not getattr(option, "hidden", False)]
    names = {name for option in shown for name in (*option.opts, *option.secondary_opts)}
    assert "--max-concurrency" in names
    assert [name for name in names - {"--help"} if f"`{name}" not in DOCUMENT] == []


def test_the_document_has_every_failure_metric_and_shape():
    assert [kind for kind in FAILURES if f"`{kind}`" not in DOCUMENT] == []
    assert [name for name in METRICS if f"`{name}`" not in DOCUMENT] == []
    assert [name for name in SHAPES if f"`{name}`" not in DOCUMENT] == []
