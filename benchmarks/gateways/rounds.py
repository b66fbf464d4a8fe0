"""All measurements: the servers take turns, load by load, round by round."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

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


def _rss(server: Server, _: Plan) -> list[Load]:
    return [shapes.rss(streams, server.connects) for streams in (1_000, 5_000)]


def _flat(server: Server, plan: Plan) -> list[Load]:
    crowds = [shapes.crowd(streams, plan.seconds, server.connects) for streams in (10, 100, 1_000, 5_000)]
    return crowds + [shapes.length(tokens, plan.seconds) for tokens in (100, 1_000, 10_000, 100_000)]


def _durable(make: Maker) -> Maker:
    """A load that only a server with streams of its own can carry."""
    return lambda server, plan: make(server, plan) if server.durable else []


LOADS: dict[str, Maker] = {
    "paced": lambda server, plan: [shapes.paced(rate, plan.seconds) for rate in server.rates],
    "saturation": lambda server, plan: [shapes.saturation(max(50, round(server.rush_tokens * plan.rush_share)))],
    "ttft": lambda _, plan: [shapes.ttft(plan.seconds)],
    "rss": _rss,
    "fanout": _durable(lambda _, plan: [shapes.fanout(readers, plan.seconds) for readers in (1, 1_000)]),
    "resume": _durable(lambda _, plan: [shapes.resume(plan.seconds)]),
    "flat": _durable(_flat),
}
"""By the name that `--loads` knows: what a server is asked."""
_COMPARED: Final = ("paced", "ttft", "saturation")
"""What is asked of the mock alone too."""
_ONCE: Final = ("rss",)
"""What only the first round has: memory hardly varies, and thousands of streams take slow servers minutes to begin."""


def schedule(servers: Sequence[Server], plan: Plan) -> Iterator[tuple[int, Server, Load]]:
    """What is measured, in its order: in each round every load, and of each load every server."""
    for number in range(plan.runs):
        # Who comes first changes, so that nobody always meets what the one before left behind.
        turn = number % len(servers)
        taking_turns = [*servers[turn:], *servers[:turn]]
        for name in plan.loads:
            if number and name in _ONCE:
                continue
            asked = [(server, load) for server in taking_turns for load in _asked(name, server, servers, plan)]
            for each in dict.fromkeys(load.name for _, load in asked):
                yield from ((number, server, load) for server, load in asked if load.name == each)


def _asked(name: str, server: Server, servers: Sequence[Server], plan: Plan) -> list[Load]:
    """The mock alone is asked whatever the servers are asked, to compare with."""
    if server.command is not None:
        return LOADS[name](server, plan)
    if name not in _COMPARED:
        return []
    others = [each for each in servers if each.command is not None] or [server]
    return list({load.name: load for each in reversed(others) for load in LOADS[name](each, plan)}.values())


def all_runs(servers: Sequence[Server], plan: Plan) -> Iterator[Run]:
    """Measure; a failure is a run too, and a server that cannot be measured is not tried again."""
    lost: set[str] = set()
    for number, server, load in schedule(servers, plan):
        if server.name not in lost:
            done = run(server, load, number, plan.patience)
            if done.measured is None:
                lost.add(server.name)
            yield done


def run(server: Server, load: Load, number: int, patience: float) -> Run:
    """One measurement."""
    wait_until_quiet(patience)
    result = Run(server.name, load.name, number, None)
    try:
        with mock(load) as model, serving(server, model.port) as running:
            others = [model.pid, os.getpid()]
            headers = [each.replace("{upstream_port}", str(model.port)) for each in server.headers]
            job = Job(load, running.port, server.path, headers, running.pid, others)
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
