"""Coverage-guided fuzzing: atheris, which is libFuzzer for Python, drives the targets of tests/fuzz.

One process per target, so that a crash, a hang or an overflow of memory in one of them ends only that one. libFuzzer
keeps what reached new code in `.fuzz/TARGET/corpus` and goes on from there next time; the input that broke something
is `.fuzz/TARGET/crash-…` (or `timeout-…`, `oom-…`), and `--input` runs it alone, without libFuzzer.
"""

import argparse
import hashlib
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".fuzz"
SECONDS = 60
RUN_TIMEOUT = 10  # s, for one input: the longest here takes some ms
MEMORY = 1024  # MB
LARGEST = 16_384  # bytes of an input
# Dates are read by Python code, so its branches guide the search too. (YAML as well, but that becomes 30 times slower.)
INSTRUMENTED = ["headrace", "email"]
_STATUS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_RATE = re.compile(r"stat::average_exec_per_sec:\s*(\d+)")
_WORDS = re.compile(rb"[\w./*${}-]{2,24}")


@dataclass(frozen=True)
class Outcome:
    """What a run of one target came to. `edges` are the branches of the instrumented code that were reached."""

    target: str
    runs: int
    rate: int
    edges: int
    inputs: int
    reproducer: Path | None
    output: str

    @property
    def good(self) -> bool:
        """Whether nothing was found, and anything was run."""
        return self.reproducer is None and self.runs > 0


def dictionary(seeds: Iterable[bytes]) -> str:
    """The words of the seeds, as libFuzzer reads a dictionary."""
    words = {word for seed in seeds for word in _WORDS.findall(seed)}
    lines = ('"{}"'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in sorted(words))
    return "\n".join(lines) + "\n"


def fuzz(target: str, seeds: list[bytes], seconds: int) -> Outcome:
    """Fuzz one target in a process of its own."""
    home = HOME / target
    corpus = home / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as given:
        for number, seed in enumerate(seeds):
            (Path(given) / f"seed-{number}").write_bytes(seed)
        words = home / "words"
        words.write_text(dictionary(seeds), encoding="ascii")
        before = set(home.iterdir())
        command = [
            *(sys.executable, "-m", "scripts.fuzzing", target, "--engine", "--", str(corpus), given),
            *(f"-dict={words}", f"-artifact_prefix={home}/", f"-max_total_time={seconds}", f"-max_len={LARGEST}"),
            *(f"-timeout={RUN_TIMEOUT}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1", "-verbosity=1"),
        ]
        run = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    found = sorted(set(home.iterdir()) - before)
    return _outcome(target, run, found[0] if found else None)


def _outcome(target: str, run: "subprocess.CompletedProcess[str]", reproducer: Path | None) -> Outcome:
    statuses = _STATUS.findall(run.stdout) or [("0", "0", "0")]
    runs, rate = (int(match[1]) if (match := each.search(run.stdout)) else 0 for each in (_RUNS, _RATE))
    failed = run.returncode != 0 and reproducer is None
    return Outcome(
        target, 0 if failed else runs, rate, int(statuses[-1][0]), int(statuses[-1][2]), reproducer, run.stdout
    )


def show(outcome: Outcome) -> None:
    """Print the line of a target; for one that broke, also what it said and how to see it again."""
    verdict = "ok" if outcome.good else "BROKEN"
    print(
        f"{verdict:6} {outcome.target:16} {outcome.runs:9} runs {outcome.rate:6}/s {outcome.edges:6} edges "
        f"{outcome.inputs:5} inputs",
        flush=True,
    )
    if outcome.good:
        return
    lines = [line for line in outcome.output.splitlines() if not line.startswith(("#", "INFO:", "stat::"))]
    for line in lines[-40:]:
        print(f"    {line}")
    if outcome.reproducer is not None:
        print(f"fuzz: see it again: scripts/fuzz {outcome.target} --input {outcome.reproducer.relative_to(ROOT)}")


def engine(target: str, arguments: list[str]) -> None:
    """Hand this process to libFuzzer; it does not return."""
    atheris: Any = importlib.import_module("atheris")  # there is none in an environment without the part `fuzz`
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets")
    mutation = importlib.import_module("tests.fuzz.mutation")

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        if seed % 2:
            return atheris.Mutate(data, largest)
        return mutation.mutated(data, Random(seed), largest)

    def run(data: bytes) -> None:
        try:
            targets.TARGETS[target](data)
        except BaseException:
            # libFuzzer writes it too, under the same name, unless the process dies of the exception.
            (HOME / target / f"crash-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
            raise

    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=mutate)
    atheris.Fuzz()


def read_targets() -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    """Targets and seeds by name. Not imported above: the engine must instrument the code before."""
    targets = importlib.import_module("tests.fuzz.targets")
    seeds = importlib.import_module("tests.fuzz.seeds")
    return targets.TARGETS, seeds.SEEDS


def main() -> int:
    """Run what the arguments choose. The exit code is 1 if an input broke a target, or a target could not run."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Inputs that break what reads foreign bytes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="only these targets")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target (default: %(default)s)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="run one target once with this input")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--engine", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.engine:
        engine(options.targets[0], [each for each in options.targets[1:] + rest if each != "--"])

    targets, seeds = read_targets()
    unknown = [name for name in options.targets if name not in targets]
    if options.list or unknown or rest or (options.input and len(options.targets) != 1):
        print("\n".join(f"{name:16} {target.__doc__.splitlines()[0]}" for name, target in targets.items()))
        return 0 if options.list else 2
    if options.input:
        targets[options.targets[0]](options.input.read_bytes())
        print("fuzz: nothing is wrong with this input")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not here: it exists for Linux only. tests/fuzz runs the same targets with hypothesis")
        return 1
    outcomes: list[Outcome] = []
    for name in options.targets or targets:
        outcomes.append(fuzz(name, seeds[name], options.seconds))
        show(outcomes[-1])
    bad = [outcome.target for outcome in outcomes if not outcome.good]
    print(f"fuzz: {len(outcomes) - len(bad)} of {len(outcomes)} held" + (f"; broken: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
