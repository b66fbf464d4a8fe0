"""All measurements: the servers take turns, load by load, round by round."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence

import msgspec

from benchmarks.gateways import loads as shapes
from benchmarks.gateways.client import Job
from benchmarks.gateways.figures import Measured
from benchmarks.gateways.loads import Load
from benchmarks.gateways.machine import QUIET_SHARE, wait_until_quiet
from benchmarks.gateways.processes import Failed, mock, run_client, serving
from benchmarks.gateways.servers.base import Server


class Plan(msgspec.Struct, frozen=True):
    """What to measure."""

    loads: tuple[str, ...]
    runs: int
    seconds: float
    """Of a window."""
    patience: float
    """How long a run waits for a quiet machine."""
    rush_share: float = 1.0
    """Of the tokens of the saturation."""


class Run(msgspec.Struct):
    """One measurement of one server."""

    server: str
    load: str
    round: int
    measured: Measured | None
    failure: str = ""
    """Why there is none."""
    disturbed: float = 0.0
    """Cores that others used meanwhile."""

    @property
    def good(self) -> bool:
        """Whether its figures count."""
        return self.measured is not None and not self.failure

    @property
    def quiet(self) -> bool:
        """Whether others left the machine alone."""
        return self.disturbed <= QUIET_SHARE


Maker = Callable[[Server, Plan], list[Load]]


def _paced(server: Server, plan: Plan) -> list[Load]:
    return [shapes.paced(rate, plan.seconds) for rate in server.rates]


LOADS: dict[str, Maker] = {
    "paced": _paced,
    "saturation": lambda server, plan: [shapes.saturation(max(50, round(server.rush_tokens * plan.rush_share)))],
    "ttft": lambda _, plan: [shapes.ttft(plan.seconds)],
}
"""By the name that `--loads` knows: what a server is asked."""


def all_runs(servers: Sequence[Server], plan: Plan) -> Iterator[Run]:
    """Measure; a failure is a run too."""
    for number in range(plan.runs):
        for name in plan.loads:
            made = {server.name: LOADS[name](server, plan) for server in servers}
            for place in range(max(len(each) for each in made.values())):
                # Who comes first changes, so that nobody always meets what the one before left behind.
                turn = number % len(servers)
                for server in [*servers[turn:], *servers[:turn]]:
                    if place < len(made[server.name]):
                        yield run(server, made[server.name][place], number, plan.patience)


def run(server: Server, load: Load, number: int, patience: float) -> Run:
    """One measurement."""
    wait_until_quiet(patience)
    result = Run(server.name, load.name, number, None)
    try:
        with mock(load) as model, serving(server, model.port) as running:
            others = [model.pid, os.getpid()]
            job = Job(load, running.port, server.path, list(server.headers), running.pid, others)
            result.measured = run_client(job)
    except Failed as failure:
        result.failure = str(failure)
        return result
    result.failure = "; ".join(result.measured.problems)
    used = result.measured.used
    result.disturbed = used.foreign_s / used.wall_s if used.wall_s else 0.0
    return result


def say(result: Run) -> None:
    """One line of progress."""
    head = f"{result.round + 1}  {result.load:<14} {result.server:<12}"
    print(f"{head} {_words(result)}", file=sys.stderr, flush=True)


def _words(result: Run) -> str:
    if result.measured is None or result.failure:
        return f"FAILED: {result.failure}"
    measured = result.measured
    figures = "  ".join(f"{name} {value:.3g}" for name, value in measured.figures.items())
    marks = ("" if result.quiet else f"  DISTURBED ({result.disturbed:.2f} cores)") + (
        "" if measured.keeps_up else "  DOES NOT KEEP UP"
    )
    return f"{measured.rate:>9,.0f}/s  {measured.cpu_us:7.2f} us  {figures}{marks}"
