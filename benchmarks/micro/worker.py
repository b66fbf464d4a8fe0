"""One process of a comparison: measures the cases of one tree and prints what they cost, as JSON.

It is run as a file and imports nothing of ours but the cases, because `headrace` and `benchmarks` are those of the tree
under test, by PYTHONPATH, which may not have this module or another one. The argument is the `Order` as JSON.

What is timed is the processor time of this process, so that waiting for a core does not count. The least of some
samples is taken, because whatever else happens on a machine only adds to it.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import uvloop

Round = Callable[[], Any]
Prepare = Callable[[], Any]
Meter = Callable[[], int]

_WARM_UP = 20
"""Rounds before anything counts: CPython 3.11 rewrites byte code that has run some times."""
_UNIT = 10
"""Rounds come in tens, so that a slowdown of a tenth is a whole number of them."""
_PATIENCE_S = 30
"""For a case to become ready; under valgrind that takes the longest."""
_SAMPLES = 20
_SAMPLES_IN_ALL = 500
"""At least so many for all cases together, a second: with few of them, one disturbance would last for all samples."""
_SAMPLE_NS = 2_000_000
"""Long against the clock's resolution, short against what else the machine does."""


class Order(TypedDict):
    """What the process has to do."""

    source: str
    """Where `headrace` must come from."""
    only: list[str]
    """Parts of the names of the cases wanted; all when empty."""
    slower: dict[str, float]
    """Cases that do more than they say, by this factor: slowdowns to be found."""
    count: bool
    """Mark the cases for a counter of instructions, instead of timing them."""


class Costs(TypedDict):
    """What it says."""

    values: dict[str, float]
    """By case: nanoseconds per event; where `count` is set, events between its two marks, in the order of the marks."""
    about: dict[str, str]
    """What one event of a case is."""
    failed: dict[str, str]
    """What went wrong, by case or by module."""


def main(order: Order) -> Costs:
    """Measure everything that is wanted."""
    _check_source(Path(order["source"]))
    costs = Costs(values={}, about={}, failed={})
    cases = dict(find_cases(order["only"], costs["failed"]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(cases, order, costs))
    return costs


def _check_source(source: Path) -> None:
    found = importlib.import_module("headrace").__file__
    if found is None or not Path(found).is_relative_to(source):
        raise SystemExit("the tree under test is not the one that would be measured")


def find_cases(only: list[str], failed: dict[str, str]) -> Iterator[tuple[str, Prepare]]:
    """Names and functions of the cases; a module that this tree has no API for is `failed`."""
    package = "benchmarks.micro.cases"
    for name in importlib.import_module(package).MODULES:
        try:
            cases = importlib.import_module(f"{package}.{name}").CASES
        except Exception as problem:  # noqa: BLE001 - likewise
            failed[name] = _words(problem)
            continue
        for case, prepare in cases.items():
            full = f"{name}.{case}"
            if not only or any(part in full for part in only):
                yield full, prepare


def _words(problem: Exception) -> str:
    """Its first line, without the place that an ImportError names: the tree goes away."""
    return f"{type(problem).__name__}: {problem}".partition("\n")[0].partition(" (/")[0]


async def _measure(cases: dict[str, Prepare], order: Order, costs: Costs) -> None:
    """Make all cases ready, then measure them in rounds: what disturbs one sample is over when the next one comes."""
    # A task that failed in the background is told of by its case, once.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    ready: dict[str, Case] = {}
    for name, prepare in cases.items():
        costs["about"][name] = (inspect.getdoc(prepare) or "").partition("\n")[0]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                ready[name] = await Case.of(prepare, order["slower"].get(name, 1.0))
        except Exception as problem:  # noqa: BLE001 - likewise
            costs["failed"][name] = _words(problem)
    _calm_collector()
    if order["count"]:
        for name, case in ready.items():
            await case.run(_UNIT, _mark)
            costs["values"][name] = case.events * _UNIT
        return
    for _ in range(max(_SAMPLES, _SAMPLES_IN_ALL // max(1, len(ready)))):
        for name, case in ready.items():
            cost = await case.sample()
            costs["values"][name] = min(cost, costs["values"].get(name, cost))


class Case(NamedTuple):
    """A case that is warm."""

    round: Round
    events: int
    """Of a round."""
    rounds: int
    """Of a sample."""
    factor: float

    @classmethod
    async def of(cls, prepare: Prepare, factor: float) -> Case:
        """Make it ready, and see how many rounds make a sample.

        Raises:
            ValueError: it does not do what it says.
        """
        ready = prepare()
        round_ = await ready if isinstance(ready, Awaitable) else ready
        case = cls(round_, await _events_of(round_), _UNIT, factor)
        await case.run(_WARM_UP, time.process_time_ns)
        took = await case.run(_UNIT, time.process_time_ns)
        return case._replace(rounds=_UNIT * max(1, round(_SAMPLE_NS / max(took, 1))))

    async def sample(self) -> float:
        """Nanoseconds per event."""
        return await self.run(self.rounds, time.process_time_ns) / (self.rounds * self.events)

    async def run(self, rounds: int, meter: Meter) -> int:
        """Do so many rounds, or more where the case is slowed, and say what the meter says."""
        spend = _spend_waiting if inspect.iscoroutinefunction(self.round) else _spend
        return await spend(self.round, times(rounds, self.factor), meter)


def times(rounds: int, factor: float) -> int:
    """Rounds to do where so many are said to be done."""
    return round(rounds * factor)


async def _events_of(round_: Round) -> int:
    """Events of a round: the same twice, and not none, or the case measures something else than it says."""
    counts: set[int] = set()
    for _ in range(2):
        done = round_()
        counts.add(await done if isinstance(done, Awaitable) else done)
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"a round did {' and '.join(map(str, sorted(counts)))} events")
    return counts.pop()


async def _spend(round_: Round, rounds: int, meter: Meter) -> int:
    began = meter()
    for _ in range(rounds):
        round_()
    return meter() - began


async def _spend_waiting(round_: Round, rounds: int, meter: Meter) -> int:
    began = meter()
    for _ in range(rounds):
        await round_()
    return meter() - began


def _mark() -> int:
    """A call that the counter watches for, and that nothing else makes."""
    os.sched_yield()
    return 0


def _calm_collector() -> None:
    """As `headrace serve` does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
