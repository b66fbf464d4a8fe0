"""What runs in the processes of the micro benchmark: the tree that is meant, and nothing is left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.micro.meters import Clock, Side, per_event
from benchmarks.micro.trees import HERE, Tree, UnknownRevision, checked_out, differing, this_tree
from benchmarks.micro.worker import Costs

_FIRST = 'CASES = {"a": lambda: lambda: 1}\n'


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(("git", "-C", root, *who, *arguments), check=True, text=True, capture_output=True).stdout


def tree(root: Path, cases: dict[str, str]) -> Tree:
    """A tree with a `headrace` that has nothing in it, and these modules of cases."""
    files = {"src/headrace/__init__.py": ""}
    if cases:
        files |= {f"benchmarks/{name}__init__.py": "" for name in ("", "micro/")}
        files["benchmarks/micro/cases/__init__.py"] = f"MODULES = {tuple(cases)!r}\n"
        files |= {f"benchmarks/micro/cases/{name}.py": text for name, text in cases.items()}
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Tree(root.name, root)


def test_a_process_measures_the_tree_that_is_meant():
    costs = Clock().measure(Side(this_tree()), ["sse.decode-batch"], 0)
    assert list(costs["values"]) == ["sse.decode-batch"]
    assert costs["values"]["sse.decode-batch"] > 0
    assert costs["failed"] == {}


def test_a_tree_runs_its_own_cases_and_names_those_that_fail(tmp_path: Path):
    mine = {
        "good": _FIRST,
        "broken": "from headrace import nothing_of_this_name\n",
        "empty": 'CASES = {"idle": lambda: lambda: 0}\n',
    }
    costs = Clock().measure(Side(tree(tmp_path, mine)), [], 0)
    assert list(costs["values"]) == ["good.a"]
    assert costs["failed"].keys() == {"broken", "empty.idle"}
    assert costs["failed"]["broken"] == "ImportError: cannot import name 'nothing_of_this_name' from 'headrace'"


def test_a_tree_without_cases_is_measured_by_those_of_here(tmp_path: Path):
    bare = tree(tmp_path, {})
    assert bare.path == (tmp_path / "src", HERE)
    costs = Clock().measure(Side(bare), [], 0)
    assert "headrace" in costs["failed"]["sse"]


def test_a_tree_without_a_headrace_of_its_own_is_refused(tmp_path: Path):
    with pytest.raises(subprocess.CalledProcessError):
        Clock().measure(Side(Tree("none", tmp_path)), [], 0)


def test_cases_that_are_not_the_same_in_both_trees_are_named(tmp_path: Path):
    old = tree(tmp_path / "old", {"same": _FIRST, "changed": _FIRST, "gone": _FIRST})
    new = tree(tmp_path / "new", {"same": _FIRST, "changed": _FIRST.replace("1", "2")})
    assert differing(old, new) == ["__init__", "changed", "gone"]
    assert differing(tree(tmp_path / "bare", {}), new) == []


def test_a_revision_is_checked_out_and_goes_away_whatever_happens(tmp_path: Path):
    git(tmp_path, "init", "--quiet")
    for text in ("first", "second"):
        (tmp_path / "text").write_text(text)
        git(tmp_path, "add", "text")
        git(tmp_path, "commit", "--quiet", "--message", text)
    with checked_out("HEAD~1", tmp_path) as old:
        assert (old.root / "text").read_text() == "first"
    with pytest.raises(KeyboardInterrupt), checked_out("HEAD", tmp_path) as new:
        raise KeyboardInterrupt
    assert not old.root.exists()
    assert not new.root.exists()
    assert len(git(tmp_path, "worktree", "list").splitlines()) == 1
    with pytest.raises(UnknownRevision), checked_out("HEAD~2", tmp_path):
        pass


def counted(*totals: int, into: Path) -> Path:
    for part, total in enumerate(totals, 1):
        into.with_name(f"counts.{part}").write_text(f"desc: Trigger: a mark\n\nsummary: {total}\n")
    return into


def test_instructions_are_those_between_the_two_marks_of_a_case(tmp_path: Path):
    costs = Costs(values={"a": 10, "b": 100}, about={}, failed={})
    counts = counted(999, 5000, 7, 20_000, into=tmp_path / "counts")
    assert per_event(costs, counts)["values"] == {"a": 500, "b": 200}


def test_counts_that_do_not_fit_the_cases_are_refused(tmp_path: Path):
    costs = Costs(values={"a": 10}, about={}, failed={})
    with pytest.raises(ValueError, match="cannot be told apart"):
        per_event(costs, counted(999, 5000, 7, into=tmp_path / "counts"))
