"""The run: see the package."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import uvloop

from benchmarks.cluster import capacity, load
from benchmarks.cluster.capacity import Capacity, Footprint
from benchmarks.cluster.load import Load
from benchmarks.cluster.measure import Figures, Meters
from benchmarks.cluster.page import HOPS, page
from benchmarks.cluster.programs import Program, Rig, rig, valkey

_PAGE: Final = Path(__file__).parents[1] / "results" / "cluster.md"
_PARTS: Final = ("hops", "fanout", "capacity")
_FAST: Final = 0.02
_EVEN: Final = 0.05
_STREAMS: Final = 100
_FANOUT: Final = ((1, 1), (1, 10), (1, 100), (1, 1000), (100, 1), (100, 10))
"""Streams, and readers of each."""
_CAPACITY: Final = ((1000, 1, False), (1000, 1, True), (1000, 8, True))
"""Streams, tokens an append, and whether another node listens."""

K = TypeVar("K")
V = TypeVar("V")


def main() -> None:
    """Read the options, measure in turns, write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each window")
    parser.add_argument("--only", default=",".join(_PARTS), help="some of " + ", ".join(_PARTS))
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/cluster.md")
    options = parser.parse_args()
    parts: list[str] = options.only.split(",")
    hop_load = Load("fast", _FAST, _STREAMS, seconds=options.seconds)
    hops: dict[str, list[Figures]] = {}
    fanout: dict[Load, list[Figures]] = {}
    if {"hops", "fanout"} & set(parts):
        with rig({"fast": _FAST, "even": _EVEN}) as running:
            if "hops" in parts:
                hops = rounds(options.rounds, list(HOPS), lambda case: hop(case, hop_load, running))
            if "fanout" in parts:
                loads = [Load("even", _EVEN, streams, readers, options.seconds) for streams, readers in _FANOUT]
                fanout = rounds(options.rounds, loads, lambda each: held(each, running, running.a, running.b))
    carried: dict[tuple[int, int, bool], list[Capacity]] = {}
    size: Footprint | None = None
    if "capacity" in parts:
        with valkey() as server:
            size = capacity.footprint(server)
            carried = rounds(
                options.rounds,
                list(_CAPACITY),
                lambda case: capacity.measure(server, case[0], case[1], options.seconds / 2, listened=case[2]),
            )
    text = page(hops, fanout, carried, size, hop_load)
    print(text)
    if options.save:
        _PAGE.write_text(text)


def rounds(count: int, cases: list[K], measure: Callable[[K], V]) -> dict[K, list[V]]:
    """All cases in turns."""
    found: dict[K, list[V]] = {case: [] for case in cases}
    for _ in range(count):
        for case in cases:
            found[case].append(measure(case))
            print(case, found[case][-1], flush=True)
    return found


def hop(case: str, hop_load: Load, running: Rig) -> Figures:
    """One way of a token."""
    ways: dict[str, tuple[Program, Program | None]] = {
        "direct": (running.mocks["fast"], None),
        "memory": (running.memory, None),
        "same": (running.a, None),
        "other": (running.a, running.b),
    }
    return held(hop_load, running, *ways[case])


def held(each: Load, running: Rig, producer: Program, reader: Program | None) -> Figures:
    """One window, with the CPU of every process."""
    nodes = {"memory": running.memory, "a": running.a, "b": running.b}
    meters = Meters({"valkey": running.valkey.pid} | {name: node.pid for name, node in nodes.items()}, running.valkey)
    gc.collect()
    return uvloop.run(load.run(each, producer, reader, meters))


if __name__ == "__main__":
    main()
