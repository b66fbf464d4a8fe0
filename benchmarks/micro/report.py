"""The figures as tables, as JSON, and as a page to keep."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from benchmarks._page import grid, machine
from benchmarks.micro.pairing import Comparison, Known, Missing
from benchmarks.micro.verdict import Verdict

_MANY_NS = 10_000


def costs_table(known: Known, unit: str) -> str:
    """What each case costs, and how much that differed between processes."""
    rows = [
        (name, amount(median(values), unit), f"{max(values) / min(values) - 1:.0%}", known.about[name])
        for name, values in known.values.items()
    ]
    return grid(("case", "per event", "spread", "an event is"), rows)


def comparison_table(comparison: Comparison, unit: str) -> str:
    """Both sides' costs, their ratio, how sure it is, and the verdict."""
    old, new = (side.tree.name for side in comparison.sides)
    rows = [
        (
            name,
            amount(verdict.old, unit),
            amount(verdict.new, unit),
            *_change(verdict),
            verdict.word if verdict.word == "same" else verdict.word.upper(),
        )
        for name, verdict in comparison.verdicts.items()
    ]
    return grid(("case", old, new, "change", "interval", "verdict"), rows)


def amount(value: float, unit: str) -> str:
    """A cost in the unit that reads best."""
    if unit != "ns":
        return f"{value:,.0f}"
    return f"{value / 1000:,.1f} µs" if value >= _MANY_NS else f"{value:,.0f} ns"


def missing_lines(missing: Iterable[Missing]) -> str:
    """Cases that could not be compared, those with one reason together."""
    names: dict[tuple[str, str], list[str]] = {}
    for lack in missing:
        names.setdefault((lack.tree, lack.reason), []).append(lack.name)
    return "\n".join(
        f"not compared, because of {tree} ({reason}): {', '.join(cases)}" for (tree, reason), cases in names.items()
    )


def differing_line(modules: Iterable[str]) -> str:
    """A warning where both sides brought cases of their own that are not the same."""
    names = ", ".join(modules)
    return f"the cases of the two differ, so these may compare different work: {names}" if names else ""


def costs_json(known: Known, unit: str) -> dict[str, Any]:
    """The same for programs."""
    cases = {name: {"median": median(values), "values": values} for name, values in known.values.items()}
    return {"machine": machine(), "unit": unit, "cases": cases, "failed": known.failed}


def comparison_json(comparison: Comparison, unit: str, differing: list[str]) -> dict[str, Any]:
    """The same for programs; `values` are in the order of the pairs."""
    old, new = comparison.known
    cases = {
        name: {**verdict._asdict(), "old_values": old.values[name], "new_values": new.values[name]}
        for name, verdict in comparison.verdicts.items()
    }
    return {
        "machine": machine(),
        "unit": unit,
        "old": comparison.sides[0].tree.name,
        "new": comparison.sides[1].tree.name,
        "cases": cases,
        "missing": [lack._asdict() for lack in comparison.missing],
        "differing": differing,
    }


def page(found: Comparison, slower: Container[str], wrong: Sequence[str], counted: Mapping[str, list[float]]) -> str:
    """What a self-test by the clock leaves in benchmarks/results/micro.md; `counted` are instructions."""
    known = found.known[0]
    processes = min(map(len, known.values.values()), default=0)
    costs = [
        (name, amount(median(values), "ns"), _instructions(counted.get(name)), known.about[name])
        for name, values in known.values.items()
    ]
    seen = [
        (name, "+10%" if name in slower else "none", *_change(verdict), verdict.word)
        for name, verdict in found.verdicts.items()
    ]
    return f"""# Micro

`scripts/bench micro --self-test --save`, {datetime.now(UTC):%Y-%m-%d};
{machine()}. Other work shared the machine.

## What each part of a token's way costs

Processor time: the median of {processes} processes or more, of each the least of its samples. Another run of the same
tree may differ by a quarter: these are orders of magnitude, and only `--against` compares. Instructions are those
outside the kernel, counted by valgrind.

{grid(("case", "time", "instructions", "an event is"), costs)}

## Whether a change is seen

The tree against itself, every second case with a tenth more work. {len(wrong)} of {len(seen)} verdicts are wrong.

{grid(("case", "work added", "change seen", "interval", "verdict"), seen)}
"""


def _instructions(values: Sequence[float] | None) -> str:
    return amount(median(values), "instructions") if values else ""


def _change(verdict: Verdict) -> tuple[str, str]:
    return f"{verdict.ratio - 1:+.1%}", f"{verdict.low - 1:+.1%} … {verdict.high - 1:+.1%}"
