"""Small reviewed defects, one at a time, each of which the tests of its promise must notice.

A mutant is a table of tests/mutants/*.toml:

    [[mutant]]
    id = "resume-drops-a-frame"
    promise = "P4"
    file = "src/headrace/engine/subscription.py"
    find = "after + 1"            # exact source text, exactly once in the file
    replace = "after + 2"
    why = "the first frame after a reconnect is missing"
    tests = ["tests/engine"]      # optional: where to look, for speed

For each mutant the runner changes a copy of the repository and runs the tests marked with the promise until the first
failure. A failing test kills the mutant; no failing test means that it survived. Tests that do not even start say
nothing, so such a mutant is broken. In the end the tests that did the killing run once on the unchanged copy: they
must pass there, or they killed for another reason.
"""

import argparse
import compileall
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.promises import Promise, read_table

ROOT = Path(__file__).resolve().parents[1]
JOBS = 2
TEST_TIMEOUT = 30  # s, for one test: a defect that makes it hang fails it by name
MUTANT_TIMEOUT = 60  # s, for one mutant, if even that did not work
CONTROL_TIMEOUT = 300  # s, for the run on the unchanged copy
NOT_COPIED = shutil.ignore_patterns(
    ".*_cache", ".coverage*", ".fuzz", ".git", ".hypothesis", ".venv", "__pycache__", "dist", "htmlcov", "node_modules"
)
INSTALLED = (".venv", "tests/e2e/node/node_modules")  # used where they are
TESTS_FAILED, NOTHING_COLLECTED = 1, 5  # exit codes of pytest
# A pytest plugin that writes down which tests failed. A failing setup is no verdict: the defect broke a fixture.
# No example is made smaller: that one failed is all that counts.
WITNESS = """
import os

from hypothesis import Phase, settings

settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], deadline=None)

def pytest_runtest_logreport(report):
    if report.failed and report.when != "setup":
        with open(os.environ["MUTANT_WITNESS"], "a", encoding="utf-8") as file:
            file.write(report.nodeid + "\\n")
"""


@dataclass(frozen=True)
class Mutant:
    """One defect. `tests` narrows where the tests of the promise are looked for."""

    id: str
    promise: str
    file: str
    find: str
    replace: str
    why: str
    tests: tuple[str, ...] = ("tests",)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: `killed`, `timeout` (killed by a hang), `survived` or `broken`."""

    mutant: Mutant
    verdict: str
    seconds: float
    detail: str = ""
    killers: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the tests noticed."""
        return self.verdict in {"killed", "timeout"}


@dataclass(frozen=True)
class Run:
    """How one run of pytest ended. `code` is None when it was stopped at its deadline."""

    code: int | None
    output: str
    failed: tuple[str, ...]


def read_mutants(folder: Path) -> tuple[list[Mutant], list[str]]:
    """The mutants of all files in the folder, and what is wrong with them."""
    mutants: list[Mutant] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            mutants += [read_mutant(table) for table in tables.pop("mutant", [])]
        except (ValueError, TypeError) as error:  # TOML's own error is a ValueError
            problems.append(f"{path.name}: {error}")
            continue
        problems += [f"{path.name}: unknown table {name!r}" for name in tables]
    ids = [mutant.id for mutant in mutants]
    problems += [f"{name}: the id is used twice" for name in dict.fromkeys(ids) if ids.count(name) > 1]
    return mutants, problems


def read_mutant(table: dict[str, Any]) -> Mutant:
    """One table as a mutant.

    Raises:
        TypeError: a key is missing or unknown, or a value has the wrong type.
    """
    tests = table.get("tests", list(Mutant.tests))
    texts = [value for key, value in table.items() if key != "tests"]
    if not isinstance(tests, list) or not all(isinstance(value, str) for value in [*tests, *texts]):
        raise TypeError(f"{table.get('id', 'a mutant')}: `tests` is a list of strings, everything else a string")
    return Mutant(**{**table, "tests": tuple(tests)})


def mutate(source: str, mutant: Mutant) -> str:
    """The source with the defect in it.

    Raises:
        ValueError: `find` does not occur exactly once, nothing would change, or the result is not Python.
    """
    count = source.count(mutant.find)
    if count != 1:
        raise ValueError(f"`find` occurs {count} times in {mutant.file}, it must occur once")
    mutated = source.replace(mutant.find, mutant.replace)
    if mutated == source:
        raise ValueError("`replace` changes nothing")
    try:
        compile(mutated, mutant.file, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ValueError(f"the result is not Python: {error}") from error
    return mutated


def check_mutants(mutants: list[Mutant], promises: dict[str, Promise], root: Path) -> list[str]:
    """Mutants that cannot be applied or name an unknown promise, and implemented promises without a mutant."""
    problems: list[str] = []
    for mutant in mutants:
        path = root / mutant.file
        if mutant.promise not in promises:
            problems.append(f"{mutant.id}: there is no promise {mutant.promise}")
        if not (path.is_file() and path.is_relative_to(root / "src")):
            problems.append(f"{mutant.id}: there is no file {mutant.file} below src/")
            continue
        try:
            mutate(path.read_text(encoding="utf-8"), mutant)
        except ValueError as error:
            problems.append(f"{mutant.id}: {error}")
        problems.extend(f"{mutant.id}: there is no {path}" for path in mutant.tests if not (root / path).exists())
    covered = {mutant.promise for mutant in mutants}
    problems += [
        f"{p.id} is {p.status}, but has no mutant" for p in promises.values() if p.implemented and p.id not in covered
    ]
    return problems


class Sandbox:
    """A copy of the repository in which one mutant at a time lives. One thread owns it."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = home / "repository"
        self.witness = home / "witness"
        shutil.copytree(root, self.root, ignore=NOT_COPIED)
        for installed in INSTALLED:
            if (root / installed).exists():
                (self.root / installed).symlink_to(root / installed)
        plugins = home / "plugins"
        plugins.mkdir()
        (plugins / "mutant_witness.py").write_text(WITNESS, encoding="utf-8")
        self.environment = {
            **os.environ,
            "MUTANT_WITNESS": str(self.witness),
            "PYTHONDONTWRITEBYTECODE": "1",  # a changed file of the same size and second would not be compiled again
            "PYTHONPATH": os.pathsep.join([str(self.root / "src"), str(plugins)]),
        }
        compileall.compile_dir(str(self.root / "src"), quiet=2)

    def pytest(self, selection: list[str], seconds: float) -> Run:
        """Run the selected tests here; at the deadline kill them and everything that they started."""
        self.witness.unlink(missing_ok=True)
        shutil.rmtree(self.root / ".hypothesis", ignore_errors=True)
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--tb=short", "--no-header"),
            *("-p", "mutant_witness", "-p", "no:cacheprovider", "-p", "no:cov"),
            *("--hypothesis-seed=0", "--hypothesis-profile=mutants", f"--timeout={TEST_TIMEOUT}", *selection),
        ]
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        code: int | None = None
        try:
            output, _ = process.communicate(timeout=seconds)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        failed = self.witness.read_text(encoding="utf-8").splitlines() if self.witness.exists() else []
        return Run(code, output, tuple(dict.fromkeys(failed)))

    def try_out(self, mutant: Mutant) -> Outcome:
        """Run the tests of the mutant's promise with the defect in place, and take it out again."""
        started = time.monotonic()
        path = self.root / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutate(source, mutant), encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
        try:
            run = self.pytest(["-x", "--promise", mutant.promise, *mutant.tests], MUTANT_TIMEOUT)
        finally:
            path.write_text(source, encoding="utf-8")
        return judge(mutant, run, time.monotonic() - started)


def judge(mutant: Mutant, run: Run, seconds: float) -> Outcome:
    """What the run says about the mutant."""
    outcome = Outcome(mutant, "broken", seconds, run.output, run.failed)
    if run.code is None:
        return replace(outcome, verdict="timeout", detail=f"stopped after {MUTANT_TIMEOUT} s")
    if run.code == 0:
        return replace(outcome, verdict="survived", detail=f"no test of {mutant.promise} failed")
    if run.code == TESTS_FAILED and run.failed:
        return replace(outcome, verdict="killed", detail=run.failed[0])
    if run.code == NOTHING_COLLECTED:
        return replace(outcome, detail=f"no test marked {mutant.promise} in {' '.join(mutant.tests)}")
    return outcome


def control(outcomes: Iterable[Outcome], sandbox: Sandbox) -> str:
    """Run the killers on the unchanged copy. Returns what is wrong, or nothing."""
    killers = list(dict.fromkeys(killer for outcome in outcomes for killer in outcome.killers))
    hung = [outcome.mutant for outcome in outcomes if outcome.verdict == "timeout"]
    if killers:
        run = sandbox.pytest(killers, CONTROL_TIMEOUT)
        if run.code != 0:
            return f"the tests that killed fail without a defect too:\n{run.output}"
    for mutant in hung:  # rare: which test hung is not known
        run = sandbox.pytest(["--promise", mutant.promise, *mutant.tests], CONTROL_TIMEOUT)
        if run.code != 0:
            return f"the tests of {mutant.id} do not pass without the defect:\n{run.output}"
    return ""


def run_mutants(mutants: list[Mutant], root: Path, jobs: int) -> tuple[list[Outcome], str]:
    """Try out every mutant, `jobs` at a time, then the control run. Outcomes are printed as they come."""
    with tempfile.TemporaryDirectory(prefix="headrace-mutants-") as home:
        sandboxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for number in range(min(jobs, len(mutants))):
            sandboxes.put(Sandbox(root, Path(home) / str(number)))

        def try_out(mutant: Mutant) -> Outcome:
            sandbox = sandboxes.get()
            try:
                outcome = sandbox.try_out(mutant)
            finally:
                sandboxes.put(sandbox)
            show(outcome)
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(try_out, mutants))
        return outcomes, control(outcomes, sandboxes.get())


def show(outcome: Outcome) -> None:
    """Print the line of a mutant; for one that is broken, also the end of what pytest said."""
    mutant, detail = outcome.mutant, outcome.detail.strip().splitlines() or [""]
    print(f"{outcome.verdict:9} {outcome.seconds:5.1f} s  {mutant.promise:4} {mutant.id:40} {detail[-1]}", flush=True)
    for line in detail[-25:-1]:
        print(f"    {line}")


def choose(mutants: list[Mutant], names: list[str]) -> list[Mutant]:
    """Those with a given id or promise; all without names."""
    return [mutant for mutant in mutants if not names or mutant.id in names or mutant.promise in names]


def main() -> int:
    """Run what the arguments choose. The exit code is 1 if a mutant survived or something is wrong with one."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description="Small defects that the tests must notice.")
    parser.add_argument("names", nargs="*", metavar="P4|ID", help="only the mutants of this promise, or this mutant")
    parser.add_argument("--list", action="store_true", help="only see that each can be applied, and name them")
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many at a time (default: %(default)s)")
    options = parser.parse_args()

    started = time.monotonic()
    promises, problems = read_table(ROOT / "docs" / "promises.md")
    mutants, unreadable = read_mutants(ROOT / "tests" / "mutants")
    problems += unreadable + check_mutants(mutants, promises, ROOT)
    chosen = choose(mutants, options.names)
    if options.names and not chosen:
        problems.append(f"nothing is named {' or '.join(options.names)}")
    if problems:
        print("\n".join(f"mutants: {problem}" for problem in problems))
        return 1
    if options.list:
        print("\n".join(f"{mutant.promise:4} {mutant.id}" for mutant in chosen))
        return 0

    outcomes, wrong = run_mutants(chosen, ROOT, options.jobs) if chosen else ([], "")
    if wrong:
        print(f"mutants: {wrong}")
    bad = [outcome for outcome in outcomes if not outcome.good]
    for outcome in bad:
        print(f"mutants: {outcome.mutant.id} {outcome.verdict}: {outcome.mutant.why}")
    verdict = f"{len(outcomes) - len(bad)} of {len(outcomes)} noticed"
    print(f"mutants: {verdict} in {time.monotonic() - started:.0f} s{' (control run failed)' if wrong else ''}")
    return 1 if bad or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
