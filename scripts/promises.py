"""The promises of docs/promises.md held against the tests that prove them and the docs that cite them.

Standard library only. Run by scripts/check; scripts/mutation.py reads the same table.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

STATUS = re.compile(r"planned|implemented in \d+\.\d+( \(part.*\))?")
CELL_BORDER = re.compile(r"(?<!\\)\|")  # a pipe inside a cell is written \|
CITED = re.compile(r"\bP(\d+)(?:[-–]P?(\d+))?\b")  # P4, P31-P36
CITED_IN_PARENTHESES = re.compile(r"\(P\d+(?:(?:, ?| and |[-–])P?\d+)*\)")


@dataclass(frozen=True)
class Promise:
    """One row of the table."""

    id: str
    text: str
    status: str

    @property
    def implemented(self) -> bool:
        """Whether it holds today, wholly or in the part that the status names."""
        return self.status.startswith("implemented")


@dataclass
class Proofs:
    """The ids that the tests name, each with the places (`file:line`) that name it."""

    tests: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    skipped: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    problems: list[str] = field(default_factory=list[str])


def read_table(path: Path) -> tuple[dict[str, Promise], list[str]]:
    """The promises by id, in the order of the file, and what is wrong with the table."""
    promises: dict[str, Promise] = {}
    problems: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not re.match(r"\|\s*P\d", line):
            continue
        cells = [cell.strip() for cell in CELL_BORDER.split(line.strip())[1:-1]]
        where = f"{path.name}:{number}"
        if len(cells) != 4:
            problems.append(f"{where}: {len(cells)} columns instead of id, promise, source, status")
        elif not re.fullmatch(r"P\d+", cells[0]):
            problems.append(f"{where}: {cells[0]!r} is not an id")
        elif cells[0] in promises:
            problems.append(f"{where}: {cells[0]} is in the table twice")
        elif not STATUS.fullmatch(cells[3]):
            problems.append(
                f"{where}: {cells[0]} has the status {cells[3]!r}; it must be `planned`, `implemented in x.y` or "
                "`implemented in x.y (part: ...)`"
            )
        else:
            promises[cells[0]] = Promise(cells[0], cells[1], cells[3])
    if not promises:
        problems.append(f"{path.name}: no promise found")
    return promises, problems


def is_mark(node: ast.expr, *names: str) -> bool:
    """Whether the expression is `pytest.mark.<name>` or `mark.<name>`, called or not."""
    if isinstance(node, ast.Call):
        node = node.func
    if not isinstance(node, ast.Attribute) or node.attr not in names:
        return False
    owner = node.value
    return (isinstance(owner, ast.Attribute) and owner.attr == "mark") or (
        isinstance(owner, ast.Name) and owner.id == "mark"
    )


def promise_marks(node: ast.AST, skipped: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Every `pytest.mark.promise(...)` below the node, and whether what it marks never runs or may fail."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        skipped = skipped or any(is_mark(decorator, "skip", "xfail") for decorator in node.decorator_list)
    if isinstance(node, ast.Call) and is_mark(node, "promise"):
        yield node, skipped
    for child in ast.iter_child_nodes(node):
        yield from promise_marks(child, skipped)


def read_tests(files: Iterable[Path], root: Path) -> Proofs:
    """Collect the ids named by decorators, `pytestmark`, `pytest.param(marks=...)` and aliases of such marks."""
    proofs = Proofs()
    for path in sorted(files):
        for call, skipped in promise_marks(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            where = f"{path.relative_to(root)}:{call.lineno}"
            ids = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
            if len(ids) != len(call.args) or call.keywords or not ids or not all(isinstance(i, str) for i in ids):
                proofs.problems.append(f'{where}: the ids must be written out, as in promise("P4", "P5")')
                continue
            found = proofs.skipped if skipped else proofs.tests
            for promise in ids:
                found.setdefault(str(promise), []).append(where)
    return proofs


def check_tests(promises: dict[str, Promise], proofs: Proofs) -> list[str]:
    """Implemented promises without a test, and tests that name an unknown promise."""
    problems = list(proofs.problems)
    for promise in promises.values():
        if promise.implemented and promise.id not in proofs.tests:
            only = f"; {', '.join(proofs.skipped[promise.id])} is skipped" if promise.id in proofs.skipped else ""
            problems.append(f"{promise.id} is {promise.status}, but no test names it{only}")
    for found in (proofs.tests, proofs.skipped):
        for unknown in found.keys() - promises.keys():
            problems.extend(f"{where}: there is no promise {unknown}" for where in found[unknown])
    return problems


def cited_ids(text: str) -> Iterator[str]:
    """The ids that the text names, ranges written out."""
    for match in CITED.finditer(text):
        first, last = int(match[1]), int(match[2] or match[1])
        yield from (f"P{number}" for number in range(first, max(first, last) + 1))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page outside of fenced code, where ids are examples."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def check_docs(promises: dict[str, Promise], files: Iterable[Path], root: Path) -> list[str]:
    """Lines that cite a planned promise without the word "planned", and unknown ids in parentheses."""
    problems: list[str] = []
    for path in sorted(files):
        for number, line in prose(path):
            where = f"{path.relative_to(root)}:{number}"
            for promise in dict.fromkeys(cited_ids(line)):
                if promise in promises:
                    if not promises[promise].implemented and "planned" not in line.lower():
                        problems.append(f'{where}: {promise} is planned; say "planned" on that line or do not claim it')
                elif any(promise in cited_ids(group) for group in CITED_IN_PARENTHESES.findall(line)):
                    problems.append(f"{where}: there is no promise {promise}")
    return problems


def documents(root: Path) -> list[Path]:
    """The README and the docs, except the table itself and the decisions, which tell history."""
    docs = root / "docs"
    pages = [page for page in docs.rglob("*.md") if docs / "decisions" not in page.parents]
    return [page for page in [root / "README.md", *pages] if page.exists() and page != docs / "promises.md"]


def check(root: Path) -> tuple[list[str], str]:
    """Everything that is wrong in the repository at `root`, and one line that sums up what is there."""
    promises, problems = read_table(root / "docs" / "promises.md")
    proofs = read_tests((root / "tests").rglob("*.py"), root)
    problems += check_tests(promises, proofs)
    problems += check_docs(promises, documents(root), root)
    implemented = [promise.id for promise in promises.values() if promise.implemented]
    marks = sum(len(places) for places in proofs.tests.values())
    return problems, f"{len(implemented)} of {len(promises)} promises implemented, {marks} marks in tests"


def main() -> int:
    """Print the problems, or the summary. The exit code is 1 if there are problems."""
    problems, summary = check(Path(__file__).resolve().parents[1])
    for problem in problems:
        print(f"promises: {problem}")
    print(f"promises: {summary}" + (f"; {len(problems)} problems" if problems else ""))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
