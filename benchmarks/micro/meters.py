"""How one process measures one tree: by the clock, or by counting instructions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.micro.trees import Tree
from benchmarks.micro.worker import Costs, Order

_WORKER = Path(__file__).with_name("worker.py")
_SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)
_TIMEOUT_S = 300
_MARK = "sched_yield"


class Unavailable(Exception):
    """What the meter needs is not on this machine."""


class Side(NamedTuple):
    """One of the two that take turns."""

    tree: Tree
    slower: Mapping[str, float] = {}
    """Slowdowns put in to be found: a factor by case."""


class Meter(Protocol):
    """Measures one side once."""

    unit: str
    """Of a value, per event."""
    pairs: int
    """Processes a side that it takes to be sure, unless somebody says otherwise."""

    def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
        """What the wanted cases cost. `seed` decides the order in which this process keeps sets."""
        ...


class Clock:
    """Processor time."""

    unit = "ns"
    pairs = 10

    def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
        """See `Meter`."""
        return _run((), side, only, seed, count=False)


class Instructions:
    """Instructions outside the kernel, by valgrind's callgrind: it writes a file of counts at each mark."""

    unit = "instructions"
    pairs = 1

    def __init__(self) -> None:
        """Raises `Unavailable` where there is no valgrind."""
        found = shutil.which("valgrind")
        if found is None:
            raise Unavailable("--instructions needs valgrind: sudo apt-get install valgrind")
        self._valgrind = found

    def measure(self, side: Side, only: Iterable[str], seed: int) -> Costs:
        """See `Meter`. The seed does not change from process to process: nothing is to differ but the trees."""
        with tempfile.TemporaryDirectory(prefix="headrace-micro-") as directory:
            counts = Path(directory, "counts")
            tool = (self._valgrind, "--quiet", "--tool=callgrind", f"--dump-before={_MARK}")
            costs = _run((*tool, f"--callgrind-out-file={counts}"), side, only, 0, count=True)
            return per_event(costs, counts)


def per_event(costs: Costs, counts: Path) -> Costs:
    """Instructions by event.

    The marks cut the process into parts, and part n ends at mark n: so part 2 is the first case, part 4 the second.
    """
    parts = len(list(counts.parent.glob(f"{counts.name}.*")))
    if parts != 2 * len(costs["values"]):
        raise ValueError(f"{parts} marks for {len(costs['values'])} cases: the counts cannot be told apart")
    marked = zip(range(2, parts + 1, 2), costs["values"].items(), strict=True)
    values = {name: _count(counts.with_name(f"{counts.name}.{part}")) / events for part, (name, events) in marked}
    return {**costs, "values": values}


def _count(file: Path) -> int:
    found = _SUMMARY.search(file.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError("a file of counts has no summary")
    return int(found[1])


def _run(tool: tuple[str, ...], side: Side, only: Iterable[str], seed: int, *, count: bool) -> Costs:
    order = Order(source=str(side.tree.source), only=list(only), slower=dict(side.slower), count=count)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, side.tree.path)),
        "PYTHONHASHSEED": str(seed),
    }
    command = (*tool, sys.executable, "-P", str(_WORKER), json.dumps(order))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=_TIMEOUT_S, env=environment, cwd=side.tree.root
    )
    return json.loads(done.stdout)
