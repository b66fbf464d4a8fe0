"""The command: options in, a live line, a table and an exit code out."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop

from benchmarks import soak as package
from benchmarks.soak.report import line, markdown, table
from benchmarks.soak.result import Options, Sample
from benchmarks.soak.run import Soak, soak

RESULT = Path(__file__).parents[1] / "results" / "soak.md"
_EVERY_S = 10


def main() -> int:
    """Read the options, run, and say how it went."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench soak", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=500, help="running at a time")
    parser.add_argument("--seed", type=int, default=1, help="decides every stream, and what happens to it")
    parser.add_argument("--longest", type=float, default=32.0, metavar="SECONDS", help="of an answer")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/soak.md")
    given = parser.parse_args()
    options = Options(given.minutes * 60, given.streams, given.seed, given.longest)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(soak(options, _Live()))
    print(table(result))
    if given.save:
        RESULT.write_text(markdown(result), encoding="utf-8")
    for violation in result.ledger.violations:
        print(f"\n{violation}")
    return 1 if result.ledger.violated else 0


class _Live:
    """The live line: it is rewritten on a terminal, and comes every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, run: Soak, sample: Sample) -> None:
        """Show how far the run is."""
        if sys.stdout.isatty():
            print(f"\r{line(run.ledger, sample)}\033[K", end="", flush=True)
        elif sample.at_s >= self._next:
            self._next = sample.at_s + _EVERY_S
            print(line(run.ledger, sample), flush=True)


if __name__ == "__main__":
    sys.exit(main())
