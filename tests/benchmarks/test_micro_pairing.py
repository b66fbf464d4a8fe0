"""A tenth more is seen, whatever the machine does meanwhile, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from random import Random

import pytest

from benchmarks.micro.meters import Side
from benchmarks.micro.pairing import Comparison, compare, in_turn
from benchmarks.micro.report import comparison_json, comparison_table, costs_table, missing_lines, page
from benchmarks.micro.selftest import compare_with_itself, mistakes
from benchmarks.micro.trees import Tree
from benchmarks.micro.verdict import interval, judge
from benchmarks.micro.worker import Case, Costs, find_cases

OLD, NEW = Side(Tree("old", Path("old"))), Side(Tree("new", Path("new")))


class Machine:
    """A meter that drifts by a quarter from pair to pair, and by a few per cent from process to process."""

    unit = "ns"
    pairs = 10

    def __init__(self, costs: dict[str, dict[str, float]], noise: float = 0.02) -> None:
        """`costs` are the true ones, by tree and case."""
        self.order: list[str] = []
        self._costs = costs
        self._noise = noise
        self._random = Random(1)

    def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
        """What the tree's cases seem to cost."""
        self.order.append(side.tree.name)
        drift = Random(seed).uniform(1, 1.25)
        wanted = list(only)
        values = {
            name: cost * side.slower.get(name, 1) * drift * self._random.uniform(1, 1 + self._noise)
            for name, cost in self._costs[side.tree.name].items()
            if not wanted or name in wanted
        }
        return Costs(values=values, about=dict.fromkeys(values, "An event."), failed={})


def compared(old: dict[str, float], new: dict[str, float], noise: float = 0.02) -> Comparison:
    return compare(Machine({"old": old, "new": new}, noise), (OLD, NEW), [], 10, 0.1, print)


def test_the_sides_take_turns_in_changing_order():
    machine = Machine({"old": {"a": 1}, "new": {"a": 1}})
    in_turn(machine, (OLD, NEW), [], 4, print)
    assert machine.order == ["old", "new", "new", "old"] * 2


def test_a_tenth_more_is_flagged_and_the_same_is_not():
    found = compared({"more": 100, "same": 100, "less": 110}, {"more": 110, "same": 100, "less": 100})
    assert {name: verdict.word for name, verdict in found.verdicts.items()} == {
        "more": "slower",
        "same": "same",
        "less": "faster",
    }


def test_noise_is_not_taken_for_a_change_and_is_called_unclear():
    found = compared({"a": 100}, {"a": 102}, noise=0.6)
    assert found.verdicts["a"].word == "unclear"


def test_what_is_not_clear_is_measured_again():
    found = compared({"more": 100, "same": 100}, {"more": 110, "same": 100})
    assert [len(found.known[1].values[name]) for name in ("more", "same")] == [20, 10]


@pytest.mark.parametrize(("pairs", "inside"), [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (9, (2, 8)), (20, (6, 15))])
def test_the_interval_is_that_of_the_sign_test(pairs: int, inside: tuple[int, int]):
    assert interval([float(value) for value in range(pairs, 0, -1)]) == inside


def test_the_ratio_is_that_of_the_pairs():
    verdict = judge([1, 2, 4], [2, 4, 8], 0.1)
    assert (verdict.old, verdict.new, verdict.ratio, verdict.low, verdict.high) == (2, 4, 2, 2, 2)


def test_a_case_that_one_side_lacks_is_named_with_the_reason():
    class Renamed(Machine):
        def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
            costs = super().measure(side, only, seed)
            return {**costs, "failed": {"log": "ImportError: gone"}} if side is OLD else costs

    costs: dict[str, dict[str, float]] = {"old": {"sse.a": 1}, "new": {"sse.a": 1, "sse.b": 1, "log.a": 1, "log.b": 1}}
    found = compare(Renamed(costs), (OLD, NEW), [], 6, 0.1, print)
    assert list(found.verdicts) == ["sse.a"]
    assert missing_lines(found.missing).splitlines() == [
        "not compared, because of old (there is no such case): sse.b",
        "not compared, because of old (ImportError: gone): log.a, log.b",
    ]


def test_a_case_that_fails_now_and_then_is_not_compared():
    class Flaky(Machine):
        def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
            costs = super().measure(side, only, seed)
            if seed == 3 and side is NEW:
                return Costs(values={}, about={}, failed={"sse.a": "ValueError: sometimes"})
            return costs

    found = compare(Flaky({"old": {"sse.a": 1}, "new": {"sse.a": 1}}), (OLD, NEW), [], 6, 0.1, print)
    assert not found.verdicts
    assert [(lack.name, lack.tree, lack.reason) for lack in found.missing] == [
        ("sse.a", "new", "ValueError: sometimes")
    ]


def itself(noise: float, blind: bool = False) -> tuple[Comparison, dict[str, float]]:
    names = dict.fromkeys((name for name, _ in find_cases([], {})), 1000.0)

    class Blind(Machine):
        def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
            return super().measure(side._replace(slower={}), only, seed)

    machine = (Blind if blind else Machine)({"as it is": names, "slowed": names}, noise)
    return compare_with_itself(machine, [], 10, print)


def test_the_self_test_finds_every_slowdown_that_was_put_in_and_no_other():
    found, slower = itself(noise=0.02)
    assert mistakes(found, slower) == []
    assert 0 < len(slower) < len(found.verdicts)


def test_the_self_test_fails_where_slowdowns_are_not_seen():
    found, slower = itself(noise=0.02, blind=True)
    assert len(mistakes(found, slower)) == len(slower)


@pytest.mark.parametrize(("factor", "done"), [(1.0, 10), (1.1, 11)])
def test_a_slowed_case_does_a_tenth_more_rounds_than_are_counted(factor: float, done: int):
    rounds = count()
    case = Case(lambda: next(rounds), 1, 10, factor)
    asyncio.run(case.run(case.rounds, lambda: 0))
    assert next(rounds) == done


def test_the_tables_hold_every_case_and_what_an_event_is():
    found, slower = itself(noise=0.02)
    pages = (
        comparison_table(found, "ns"),
        costs_table(found.known[0], "ns"),
        page(found, slower, [], {"sse.decode-batch": [2037.0]}),
    )
    assert all(name in text for name in found.verdicts for text in pages)
    assert "2,037" in pages[2]
    assert comparison_json(found, "ns", [])["cases"].keys() == found.verdicts.keys()
