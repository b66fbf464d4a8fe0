"""What is compared: this tree as it is, and another revision in a work tree that goes away again."""

from __future__ import annotations

import filecmp
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parents[2]
_CASES = Path("benchmarks/micro/cases")


class UnknownRevision(Exception):
    """There is no such commit."""


class Tree(NamedTuple):
    """A checkout."""

    name: str
    """As people call it."""
    root: Path

    @property
    def source(self) -> Path:
        """Where its `headrace` is."""
        return self.root / "src"

    @property
    def has_cases(self) -> bool:
        """Whether it brings its own; a revision from before this benchmark is measured by the cases of here."""
        return (self.root / _CASES / "__init__.py").is_file()

    @property
    def path(self) -> tuple[Path, Path]:
        """Where its processes import from."""
        return self.source, self.root if self.has_cases else HERE


def this_tree(name: str = "here") -> Tree:
    """What is being worked on, with everything that is not committed yet."""
    return Tree(name, HERE)


@contextmanager
def checked_out(revision: str, repository: Path = HERE) -> Generator[Tree]:
    """The revision in a temporary work tree.

    Raises:
        UnknownRevision: git does not know it.
    """
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError as problem:
        raise UnknownRevision(f'there is no revision "{revision}"') from problem
    with tempfile.TemporaryDirectory(prefix="headrace-micro-") as directory:
        root = Path(directory).resolve() / "tree"
        _git(repository, "worktree", "add", "--quiet", "--detach", str(root), commit)
        try:
            yield Tree(revision, root)
        finally:
            _git(repository, "worktree", "remove", "--force", str(root))


def differing(old: Tree, new: Tree) -> list[str]:
    """Modules of cases that are not the same in both: their ratios may compare different work."""
    if not (old.has_cases and new.has_cases):
        return []
    names = {file.name for tree in (old, new) for file in (tree.root / _CASES).glob("*.py")}
    _, mismatch, errors = filecmp.cmpfiles(old.root / _CASES, new.root / _CASES, names, shallow=False)
    return sorted(name.removesuffix(".py") for name in mismatch + errors)


def _git(repository: Path, *arguments: str) -> str:
    command = ("git", "-C", str(repository), *arguments)
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout
