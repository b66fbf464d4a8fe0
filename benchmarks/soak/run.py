"""The whole run: load, then silence, then the verdict."""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.soak.answers import Recipe
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.life import Life
from benchmarks.soak.meters import connections, held, read_metrics, read_stats
from benchmarks.soak.plan import draw_plan, shared_recipes
from benchmarks.soak.result import Options, Result, Sample
from benchmarks.soak.servers import Server, both
from benchmarks.soak.verdict import judge, left

RAMP: Final = 0.25
"""All streams run after so much of the longest answer's time."""
_SAMPLE_S: Final = 2.0
_LOOKS: Final = 180
"""So often it is looked whether anything is left, at most: for longer than an idle connection is kept."""
_LOOK_S: Final = 0.5
_FILES: Final = 65536


class Soak:
    """One run: see `World`."""

    def __init__(self, options: Options, server: Server, mock: Server, recipes: list[Recipe]) -> None:
        self.options = options
        self.server = server
        self.mock = mock
        self.ledger = Ledger(options.seed)
        self.running = asyncio.Semaphore(options.streams)
        self.samples: list[Sample] = []
        self._recipes = recipes
        self._began = time.monotonic()

    async def load(self, show: Callable[[Soak, Sample], None]) -> None:
        """Keep so many streams running until time is up, then let those that run come to their end."""
        watching = [asyncio.ensure_future(self._sample_often(show)), asyncio.ensure_future(self._watch_lag())]
        self._began = time.monotonic()
        options = self.options
        pace = RAMP * options.longest_s / options.streams
        async with asyncio.TaskGroup() as tasks:
            while self.elapsed < options.seconds:
                await self.running.acquire()
                plan = draw_plan(options.seed, self.ledger.started, options.longest_s, self._recipes)
                self.ledger.started += 1
                self.ledger.running += 1
                tasks.create_task(Life(self, plan).run())
                await asyncio.sleep(pace)
        for each in watching:
            each.cancel()

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    async def _sample_often(self, show: Callable[[Soak, Sample], None]) -> None:
        while True:
            sample = await self.sample()
            self.samples.append(sample)
            self.server.read_log()
            show(self, sample)
            await asyncio.sleep(_SAMPLE_S)

    async def _watch_lag(self) -> None:
        """How late this process is: while it is, nobody reads, and a reader that does not read is cut off."""
        while True:
            due = time.monotonic() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            self.ledger.lag_s = max(self.ledger.lag_s, time.monotonic() - due)

    async def sample(self) -> Sample:
        """Look at both processes now."""
        times = os.times()
        return Sample(
            at_s=self.elapsed,
            metrics=await read_metrics(self.server.address),
            stats=await read_stats(self.mock.address),
            server=held(self.server.pid),
            mock=held(self.mock.pid),
            own_cpu_s=times.user + times.system,
            sockets=connections(self.server.address[1], self.mock.address[1]),
            readers=self.ledger.readers_now,
        )

    async def settle(self, before: Sample) -> Sample:
        """The first look at which nothing is left, or the last one."""
        sample = await self.sample()
        for _ in range(_LOOKS):
            if not left(before, sample, pooled=not self.options.judges_memory):
                break
            await asyncio.sleep(_LOOK_S)
            sample = await self.sample()
        return sample


async def soak(options: Options, show: Callable[[Soak, Sample], None]) -> Result:
    """Run it all."""
    _allow_files()
    recipes = shared_recipes(options.seed, options.longest_s)
    with tempfile.TemporaryDirectory() as directory:
        async with both(options.seed, options.streams, recipes, Path(directory)) as (mock, server):
            run = Soak(options, server, mock, recipes)
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: run.ledger.violation("the soak itself failed", str(context))
            )
            before = await run.sample()
            await run.load(show)
            load_s = run.elapsed
            after = await run.settle(before)
            exit_code = await server.end()
            result = Result(options, run.ledger, run.samples, before, after, load_s)
            judge(result, server, exit_code)
    return result


def _allow_files() -> None:
    """Thousands of connections, here and in the processes, which inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _FILES) if most > 0 else _FILES, most))
