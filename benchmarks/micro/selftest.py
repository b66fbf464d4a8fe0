"""Whether the benchmark sees what it is for: every second case does a tenth more, and only those are to be flagged."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.micro.meters import Meter, Side
from benchmarks.micro.pairing import Comparison, Told, compare
from benchmarks.micro.trees import this_tree
from benchmarks.micro.worker import find_cases

SLOWDOWN = 0.1


def compare_with_itself(
    meter: Meter, only: Sequence[str], times: int, told: Told
) -> tuple[Comparison, dict[str, float]]:
    """This tree against itself, and the slowdowns that were put into the second side."""
    names = [name for name, _ in find_cases(list(only), {})]
    slower = dict.fromkeys(names[::2], 1 + SLOWDOWN)
    sides = Side(this_tree("as it is")), Side(this_tree("slowed"), slower)
    return compare(meter, sides, only, times, SLOWDOWN, told), slower


def mistakes(comparison: Comparison, slower: dict[str, float]) -> list[str]:
    """What was not seen, and what was seen and is not there."""
    wrong: list[str] = [f"{lack.name}: not measured ({lack.reason})" for lack in comparison.missing]
    for name, verdict in comparison.verdicts.items():
        flagged = verdict.word in ("slower", "faster")
        if name in slower and verdict.word != "slower":
            wrong.append(f"{name}: does {SLOWDOWN:.0%} more, and is called {verdict.word}")
        elif name not in slower and flagged:
            wrong.append(f"{name}: is the same, and is called {verdict.word}")
    return wrong
