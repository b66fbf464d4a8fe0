"""scripts/mutation.py: the reading of mutants, and one toy repository in which each verdict comes up."""

from pathlib import Path

import pytest

from scripts.mutation import Mutant, check_mutants, mutate, read_mutants, run_mutants
from scripts.promises import Promise

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """\
def double(number):
    return number * 2


def triple(number):
    return number * 3
"""
TESTS = """\
import pytest

from toy import double, triple

@pytest.mark.promise("P1")
def test_double():
    assert double(4) == 8

@pytest.mark.promise("P2")
def test_triple():
    triple(4)
"""


def mutant(name: str, promise: str, find: str, replace: str) -> Mutant:
    return Mutant(name, promise, "src/toy.py", find, replace, "for the test")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two functions, of which one is tested well."""
    for name, text in {
        "src/toy.py": SOURCE,
        "tests/test_toy.py": TESTS,
        "tests/conftest.py": (ROOT / "tests/conftest.py").read_text(encoding="utf-8"),
        "pytest.ini": "[pytest]\nmarkers = promise\n",
    }.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "toy"


def test_every_verdict_comes_up_in_a_real_run(repository: Path) -> None:
    mutants = [
        mutant("noticed", "P1", "number * 2", "number * 4"),
        mutant("unnoticed", "P2", "number * 3", "number * 4"),
        mutant("untested", "P3", "number * 3", "number * 4"),
        mutant("not-importable", "P1", "def double", "def duple"),
    ]
    outcomes, wrong = run_mutants(mutants, repository, jobs=2)
    assert {outcome.mutant.id: outcome.verdict for outcome in outcomes} == {
        "noticed": "killed",
        "unnoticed": "survived",
        "untested": "broken",
        "not-importable": "broken",
    }
    assert outcomes[0].killers == ("tests/test_toy.py::test_double",)
    assert outcomes[2].detail == "no test marked P3 in tests"
    assert wrong == ""
    assert (repository / "src/toy.py").read_text(encoding="utf-8") == SOURCE


def test_a_test_that_fails_without_the_defect_too_is_no_killer(repository: Path) -> None:
    tests = repository / "tests/test_toy.py"
    tests.write_text(TESTS.replace("== 8", "== 9"), encoding="utf-8")
    outcomes, wrong = run_mutants([mutant("m", "P1", "number * 2", "number * 4")], repository, jobs=1)
    assert [outcome.verdict for outcome in outcomes] == ["killed"]
    assert wrong.startswith("the tests that killed fail without a defect too")


@pytest.mark.parametrize(
    ("find", "replace", "complaint"),
    [
        ("number * 5", "0", "occurs 0 times"),
        ("number", "0", "occurs 4 times"),
        ("number * 2", "number * 2", "changes nothing"),
        ("number * 2", "number *", "not Python"),
    ],
)
def test_a_defect_that_cannot_be_put_in_is_refused(find: str, replace: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mutate(SOURCE, mutant("m", "P1", find, replace))


def test_mutants_are_read_from_every_file(tmp_path: Path) -> None:
    table = '[[mutant]]\nid = "{}"\npromise = "P1"\nfile = "f"\nfind = "a"\nreplace = "b"\nwhy = "w"\n'
    (tmp_path / "a.toml").write_text(table.format("one") + 'tests = ["tests/x"]\n', encoding="utf-8")
    (tmp_path / "b.toml").write_text(table.format("two"), encoding="utf-8")
    mutants, problems = read_mutants(tmp_path)
    assert problems == []
    assert [(m.id, m.tests) for m in mutants] == [("one", ("tests/x",)), ("two", ("tests",))]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[mutant]]\nid = "m"\n', "missing 5 required"),
        ('[[mutant]]\nid = "m"\ncolour = "red"\n', "unexpected keyword argument 'colour'"),
        ('[[mutant]]\nid = "m"\ntests = "tests"\n', "`tests` is a list of strings"),
        ('[[mutants]]\nid = "m"\n', "unknown table 'mutants'"),
        ("[[mutant\n", "bad.toml"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
    _, problems = read_mutants(tmp_path)
    assert complaint in "\n".join(problems)


def test_what_does_not_fit_the_repository_is_named(repository: Path) -> None:
    promises = {name: Promise(name, "", status) for name, status in [("P1", "implemented in 0.1"), ("P2", "planned")]}
    mutants = [
        mutant("unknown", "P9", "number * 2", "0"),
        mutant("stale", "P2", "number * 5", "0"),
        Mutant("nowhere", "P2", "src/gone.py", "a", "b", "", ("tests/gone",)),
        Mutant("outside", "P2", "tests/test_toy.py", "== 8", "== 9", ""),
    ]
    assert check_mutants(mutants, promises, repository) == [
        "unknown: there is no promise P9",
        "stale: `find` occurs 0 times in src/toy.py, it must occur once",
        "nowhere: there is no file src/gone.py below src/",
        "outside: there is no file tests/test_toy.py below src/",
        "P1 is implemented in 0.1, but has no mutant",
    ]
