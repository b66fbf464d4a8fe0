"""The run itself: requests go out as the plan says, and every outcome goes into a measurement."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Final

from headrace import __version__
from headrace.bench.arrivals import arrival_times, opening_times
from headrace.bench.connection import Pool, clock
from headrace.bench.exchange import Exchange
from headrace.bench.measurement import Measurement
from headrace.bench.plan import Load, Plan, Series

_TICK_S: Final = 0.1
# A server that cannot be reached is not asked again at once, thousands of times in a second.
_PAUSE_S: Final = 0.25
_UNREACHED: Final = frozenset({"refused", "unreachable", "reset", "closed", "tls", "files"})
_UNLIMITED: Final = 2**31  # more than there are ports

Watch = Callable[[int, Measurement, float], None]
"""Called several times a second: the number of the series, what it has so far, and the seconds of this round."""


class Run:
    """One run of a plan; `measurements` are there from the start, one for each series."""

    def __init__(self, plan: Plan, watch: Watch) -> None:
        self.measurements = [Measurement(plan.goodput) for _ in plan.series]
        self.interrupted = False
        self._plan = plan
        self._watch = watch
        self._runners = [_Runner(plan, number, measurement) for number, measurement in enumerate(self.measurements)]

    async def go(self) -> None:
        """Measure everything. A cancel ends it early, with what there is; it is not passed on.

        The series run one after the other, in each round from another one on, so that none is always the first.
        """
        try:
            for runner in self._runners:
                await runner.warm_up()
            for turn in range(self._plan.load.rounds):
                first = turn % len(self._runners)
                for runner in (*self._runners[first:], *self._runners[:first]):
                    await runner.take_turn(turn, self._watch)
        except asyncio.CancelledError:
            self.interrupted = True
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        finally:
            for runner in self._runners:
                runner.close()


class _Runner:
    """One series."""

    def __init__(self, plan: Plan, number: int, measurement: Measurement) -> None:
        self._load = plan.load
        self._number = number
        self._series = plan.series[number]
        self._places = self._series.max_concurrency or _UNLIMITED
        self._measurement = measurement
        self._pool = Pool(self._series.target, keep_alive=plan.load.keep_alive, insecure=plan.load.insecure)
        self._requests = _requests(plan, number)
        self._shape = plan.shape

    async def warm_up(self) -> None:
        """Requests that count for nothing, but for an answer that no other will be better than."""
        count = self._load.warmup
        if not count:
            return
        warm = Measurement()
        places = asyncio.Semaphore(self._places)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                await places.acquire()
                if warm.hopeless:
                    break
                tasks.create_task(self._ask(warm, places, None))
        if warm.hopeless:
            self._measurement.hopeless = warm.hopeless
            self._measurement.problems = warm.problems
            self._measurement.failed = warm.failed

    async def take_turn(self, turn: int, watch: Watch) -> None:
        """One round of this series."""
        measurement = self._measurement
        if measurement.hopeless:
            return
        begun = clock()
        measurement.strain.begin()
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._observe(begun, watch))
            try:
                await self._dispatch(turn, begun)
            finally:
                watcher.cancel()
                measurement.strain.end()
                measurement.duration += clock() - begun
                measurement.connections = self._pool.opened

    def close(self) -> None:
        """Give up the idle connections."""
        self._pool.close()

    async def _dispatch(self, turn: int, begun: float) -> None:
        """Send the requests of one round, and return when the last one has ended."""
        load, measurement = self._load, self._measurement
        open_load = load.request_rate != math.inf
        end = math.inf if load.duration is None else begun + load.duration / load.rounds
        ramp_up = 0.0 if open_load else load.ramp_up
        places = asyncio.Semaphore(0 if ramp_up else self._places)
        async with asyncio.TaskGroup() as tasks:
            opener = tasks.create_task(self._open(places, ramp_up))
            for arrival in itertools.islice(self._arrivals(turn), _part(load, turn)):
                due = begun + arrival
                if due >= end:
                    break
                if due > clock():
                    await asyncio.sleep(due - clock())
                await places.acquire()
                if measurement.hopeless or clock() >= end:
                    break
                tasks.create_task(self._ask(measurement, places, due if open_load else None))
            opener.cancel()

    def _arrivals(self, turn: int) -> Iterator[float]:
        load = self._load
        seed = load.seed + turn  # another schedule in each round, the same for every series
        return arrival_times(load.request_rate, load.burstiness, seed, load.ramp_up, load.ramp_up_strategy)

    async def _open(self, places: asyncio.Semaphore, ramp_up: float) -> None:
        """Open the places for requests one after the other."""
        if not ramp_up:
            return
        begun = clock()
        for after in opening_times(self._places, ramp_up, self._load.ramp_up_strategy):
            if begun + after > clock():
                await asyncio.sleep(begun + after - clock())
            places.release()

    async def _ask(self, measurement: Measurement, places: asyncio.Semaphore, due: float | None) -> None:
        """One request, from its making to its outcome."""
        request = next(self._requests)
        measurement.began()
        started = clock()
        exchange = Exchange(self._shape.start(), started, measurement.live)
        try:
            async with asyncio.timeout(self._load.timeout):
                await self._pool.carry(exchange, request)
        except TimeoutError:
            exchange.time_is_up(clock())
        except asyncio.CancelledError:
            measurement.left()
            raise
        outcome = exchange.outcome
        assert outcome is not None, "an exchange that is over has an outcome"
        measurement.ended(outcome, None if due is None else max(0.0, started - due))
        if outcome.failure in _UNREACHED:
            await asyncio.sleep(_PAUSE_S)
        places.release()

    async def _observe(self, begun: float, watch: Watch) -> None:
        """Keep the time line, and see how late the event loop is."""
        last = begun
        try:
            while True:
                due = clock() + _TICK_S
                await asyncio.sleep(_TICK_S)
                now = clock()
                self._measurement.strain.lateness.add(max(0.0, now - due))
                self._measurement.mark(now - last)
                last = now
                watch(self._number, self._measurement, now - begun)
        finally:
            self._measurement.mark(clock() - last)


def _part(load: Load, turn: int) -> int | None:
    """How many of the requests are in this round."""
    if load.num_prompts is None:
        return None
    return load.num_prompts // load.rounds + (turn < load.num_prompts % load.rounds)


def _requests(plan: Plan, number: int) -> Iterator[bytes]:
    """The requests of a series as they go over the wire, without end."""
    series, shape, prompts = plan.series[number], plan.shape, plan.prompts(number)
    common = _head(series)
    for index in itertools.count():
        prompt = prompts[index]
        body = shape.body(prompt, series.ask)
        path = shape.path(series.target.path, prompt)
        length = f"Content-Length: {len(body)}\r\n" if body or shape.method == "POST" else ""
        yield f"{shape.method} {path} HTTP/1.1\r\n{common}{length}\r\n".encode() + body


def _head(series: Series) -> str:
    """The headers that are the same for all requests; the caller's own come in place of these."""
    headers = {
        "host": series.target.authority,
        "user-agent": f"headrace-bench/{__version__}",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    headers.update({name.lower(): value for name, value in series.headers.items()})
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
