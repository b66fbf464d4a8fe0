"""What the command says by its exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks.micro import __main__ as command
from benchmarks.micro.meters import Side
from benchmarks.micro.trees import Tree
from benchmarks.micro.worker import Costs


class Meter:
    """Says what it is told to; here costs as much as `here` says, and the other revision 100."""

    unit = "ns"
    pairs = 6
    here = 100.0
    failed: dict[str, str]

    def __init__(self) -> None:
        self.failed = {}

    def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
        mine = side.tree.name == "here"
        value = self.here * side.slower.get("sse.decode-batch", 1) if mine else 100.0
        return Costs(values={"sse.decode-batch": value}, about={"sse.decode-batch": ""}, failed=self.failed)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter()
    monkeypatch.setattr(command, "Clock", lambda: meter)
    monkeypatch.setattr(command, "checked_out", lambda revision: nullcontext(Tree(revision, Path("nowhere"))))
    return meter


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["micro", *arguments])
    return command.main()


@pytest.mark.parametrize(("cost", "arguments", "code"), [(120, ["--fail"], 1), (120, [], 0), (101, ["--fail"], 0)])
def test_only_fail_makes_a_slower_case_an_error(
    meter: Meter, monkeypatch: pytest.MonkeyPatch, cost: float, arguments: list[str], code: int
):
    meter.here = cost
    assert run(monkeypatch, "--against", "old", *arguments) == code


def test_the_threshold_decides_what_is_slower(meter: Meter, monkeypatch: pytest.MonkeyPatch):
    meter.here = 103
    assert run(monkeypatch, "--against", "old", "--fail") == 0
    assert run(monkeypatch, "--against", "old", "--fail", "--threshold", "2") == 1


def test_a_case_that_fails_here_is_an_error(meter: Meter, monkeypatch: pytest.MonkeyPatch):
    meter.failed = {"log": "ImportError: gone"}
    assert run(monkeypatch) == 1
    assert run(monkeypatch, "--against", "old", "--fail") == 1


def test_json_is_all_that_is_printed(meter: Meter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "--against", "old", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["old"], said["new"], said["cases"]["sse.decode-batch"]["word"]) == ("old", "here", "same")


def test_a_revision_that_does_not_exist_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "--against", "no such revision") == 2
    assert 'there is no revision "no such revision"' in capsys.readouterr().err


def test_instructions_without_valgrind_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", "")
    assert run(monkeypatch, "--instructions") == 2
    assert "needs valgrind" in capsys.readouterr().err
