"""Who runs when: the sides in turn, A B B A and so on, and once more where the first series does not say enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.micro.meters import Meter, Side
from benchmarks.micro.verdict import Verdict, judge

Told = Callable[[str], None]


class Known(NamedTuple):
    """What one side has said of each case."""

    values: dict[str, list[float]]
    failed: dict[str, str]
    about: dict[str, str]


class Missing(NamedTuple):
    """A case that cannot be compared."""

    name: str
    tree: str
    """Where it is missing."""
    reason: str


class Comparison(NamedTuple):
    """Two sides, old and new, and what came of it."""

    sides: tuple[Side, Side]
    known: tuple[Known, Known]
    verdicts: dict[str, Verdict]
    missing: list[Missing]


def in_turn(meter: Meter, sides: Sequence[Side], only: Sequence[str], times: int, told: Told) -> list[Known]:
    """Measure every side so often, each time in a process of its own, every second time in the reverse order."""
    known = [Known({}, {}, {}) for _ in sides]
    for number in range(times):
        told(f"{number + 1} of {times}")
        turn = list(zip(sides, known, strict=True))
        for side, mine in turn if number % 2 == 0 else reversed(turn):
            costs = meter.measure(side, only, number)
            for name, value in costs["values"].items():
                mine.values.setdefault(name, []).append(value)
            mine.failed.update(costs["failed"])
            mine.about.update(costs["about"])
    return known


def compare(
    meter: Meter, sides: tuple[Side, Side], only: Sequence[str], times: int, threshold: float, told: Told
) -> Comparison:
    """Measure in pairs, and again what looks changed or is unclear: chance seldom says the same twice.

    A single pair is for a meter that leaves nothing to chance, and is not repeated.
    """
    old, new = in_turn(meter, sides, only, times, told)
    again = [name for name, verdict in _verdicts(old, new, threshold).items() if verdict.word != "same"]
    if again and times > 1:
        told(f"once more: {', '.join(again)}")
        for mine, more in zip((old, new), in_turn(meter, sides, again, times, told), strict=True):
            for name in again:
                mine.values[name] += more.values.get(name, [])
            mine.failed.update(more.failed)
    found = _verdicts(old, new, threshold)
    return Comparison(sides, (old, new), found, _missing(sides, (old, new), found))


def _verdicts(old: Known, new: Known, threshold: float) -> dict[str, Verdict]:
    """Of every case that neither side lacks nor failed in any process."""
    return {
        name: judge(old.values[name], new.values[name], threshold)
        for name in new.values
        if name in old.values and name not in old.failed and name not in new.failed
    }


def _missing(sides: Sequence[Side], known: Sequence[Known], verdicts: dict[str, Verdict]) -> list[Missing]:
    """Everything else, where it is missing, and why."""
    names = dict.fromkeys(name for mine in known for name in (*mine.values, *mine.failed) if name not in verdicts)
    modules = {name.partition(".")[0] for name in names if "." in name}
    lacking: list[Missing] = []
    for name in names:
        for side, mine in zip(sides, known, strict=True):
            reason = mine.failed.get(name) or mine.failed.get(name.partition(".")[0])
            if name not in modules and (reason or name not in mine.values):
                lacking.append(Missing(name, side.tree.name, reason or "there is no such case"))
    return lacking
