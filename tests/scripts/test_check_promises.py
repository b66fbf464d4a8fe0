"""scripts/promises.py: the table, the marks and the docs, each in a good and a bad form."""

from pathlib import Path

import pytest

from scripts.promises import check, cited_ids, read_table

TABLE = """\
| id | promise | source | status |
|---|---|---|---|
| P1 | Every response has an id. | | implemented in 0.1 |
| P2 | `a \\| b` is one cell. | a/b#1 | implemented in 0.1 (part: memory store) |
| P3 | Not yet. | | planned |
"""
PROOFS = """\
import pytest

@pytest.mark.promise("P1", "P2")
def test_it(): ...
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository in which everything is right."""
    write(tmp_path / "docs/promises.md", TABLE)
    write(tmp_path / "tests/test_it.py", PROOFS)
    write(tmp_path / "README.md", "Every response has an id (P1). Later it will do more (P3, planned).\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def problems(repository: Path) -> str:
    return "\n".join(check(repository)[0])


def test_a_consistent_repository_has_no_problems(repository: Path) -> None:
    assert check(repository) == ([], "2 of 3 promises implemented, 2 marks in tests")


def test_the_table_is_read_with_escaped_pipes_and_parts(repository: Path) -> None:
    promises, wrong = read_table(repository / "docs/promises.md")
    assert wrong == []
    assert {name: promise.implemented for name, promise in promises.items()} == {"P1": True, "P2": True, "P3": False}
    assert promises["P2"].text == r"`a \| b` is one cell."


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("| P4 | text | | done |", "P4 has the status 'done'"),
        ("| P4 | text | | implemented |", "P4 has the status 'implemented'"),
        ("| P4 | text | planned |", "3 columns"),
        ("| P4 | a | b | | planned |", "5 columns"),
        ("| P1 | text | | planned |", "P1 is in the table twice"),
        ("| P4a | text | | planned |", "'P4a' is not an id"),
    ],
)
def test_a_bad_row_is_named(repository: Path, row: str, complaint: str) -> None:
    write(repository / "docs/promises.md", f"{TABLE}{row}\n")
    assert f"promises.md:6: {complaint}" in problems(repository)


def test_an_empty_table_is_a_problem(repository: Path) -> None:
    write(repository / "docs/promises.md", "# Promises\n")
    assert "no promise found" in problems(repository)


def test_an_implemented_promise_needs_a_test(repository: Path) -> None:
    write(repository / "tests/test_it.py", PROOFS.replace(', "P2"', ""))
    assert problems(repository) == "P2 is implemented in 0.1 (part: memory store), but no test names it"


@pytest.mark.parametrize("mark", ["skip(reason='later')", "xfail", "skip"])
def test_a_skipped_test_proves_nothing(repository: Path, mark: str) -> None:
    write(repository / "tests/test_it.py", PROOFS.replace("def ", f"@pytest.mark.{mark}\ndef "))
    assert "but no test names it; tests/test_it.py:3 is skipped" in problems(repository)


@pytest.mark.parametrize(
    "source",
    [
        'pytestmark = pytest.mark.promise("P1", "P2")',
        'pytestmark = [pytest.mark.anyio, pytest.mark.promise("P1"), pytest.mark.promise("P2")]',
        '@pytest.mark.promise("P1", "P2")\nclass TestIt:\n    def test_it(self): ...',
        '@pytest.mark.promise("P1", "P2")\nasync def test_it(): ...',
        'proves = pytest.mark.promise("P1", "P2")\n\n@proves\ndef test_it(): ...',
        'CASES = [pytest.param(1, marks=pytest.mark.promise("P1")), pytest.param(2, marks=[mark.promise("P2")])]',
    ],
)
def test_marks_are_found_wherever_pytest_takes_them(repository: Path, source: str) -> None:
    write(repository / "tests/test_it.py", f"{source}\n")
    assert problems(repository) == ""


def test_an_unknown_id_in_a_test_is_named(repository: Path) -> None:
    write(repository / "tests/deep/test_more.py", 'pytestmark = pytest.mark.promise("P99")\n')
    assert problems(repository) == "tests/deep/test_more.py:1: there is no promise P99"


@pytest.mark.parametrize("arguments", ["", "ID", "*IDS", "4", 'id="P1"'])
def test_ids_must_be_written_out(repository: Path, arguments: str) -> None:
    write(repository / "tests/test_more.py", f"pytestmark = pytest.mark.promise({arguments})\n")
    assert "tests/test_more.py:1: the ids must be written out" in problems(repository)


@pytest.mark.parametrize("claim", ["It does more (P3).", "It keeps P3.", "All of it (P1, P3).", "All of it (P1-P3)."])
@pytest.mark.parametrize("page", ["README.md", "docs/protocol.md", "docs/deep/page.md"])
def test_a_planned_promise_must_not_be_claimed(repository: Path, page: str, claim: str) -> None:
    write(repository / page, f"# Title\n{claim}\n")
    assert f'{page}:2: P3 is planned; say "planned"' in problems(repository)


def test_decisions_may_speak_of_planned_promises(repository: Path) -> None:
    write(repository / "docs/decisions/0001-log.md", "This prepares P3.\n")
    assert problems(repository) == ""


def test_ids_in_fenced_code_are_examples_and_the_text_after_it_is_read(repository: Path) -> None:
    write(repository / "docs/page.md", "```python\nmark.promise('P3')\n```\nIt keeps P3.\n")
    assert problems(repository).startswith("docs/page.md:4: P3 is planned")


def test_an_unknown_id_in_a_document_is_named_but_a_percentile_is_not_one(repository: Path) -> None:
    write(repository / "README.md", "The P99 is low.\nIt never fails (P40).\n")
    assert problems(repository) == "README.md:2: there is no promise P40"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("(P4)", ["P4"]),
        ("(P31–P33)", ["P31", "P32", "P33"]),
        ("P2-P3 and P5", ["P2", "P3", "P5"]),
        ("HTTP2, XP4, P4x", []),
    ],
)
def test_citations_are_recognised(text: str, ids: list[str]) -> None:
    assert list(cited_ids(text)) == ids
