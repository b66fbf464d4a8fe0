"""A place for a process, with processes that only pretend and a clock that nobody waits for."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from headrace.cli.supervisor.kept import LAST_S, Kept
from headrace.cli.supervisor.restarts import MOST, QUICK_S
from headrace.errors import HeadraceError

pytestmark = pytest.mark.anyio


class Process:
    status = "status 1"

    def __init__(self, pid: int, ends_at: Collection[signal.Signals]) -> None:
        self.pid = pid
        self.over = anyio.Event()
        self.signals: list[signal.Signals] = []
        self._ends_at = ends_at

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number in self._ends_at:
            self.over.set()


class Place:
    """A `Kept`, the processes that were started in it, and what it waited for."""

    def __init__(self, *ends_at: signal.Signals, patience: float = 0.0) -> None:
        self.started: list[Process] = []
        self.delays: list[float] = []
        self.failures: list[HeadraceError] = []
        self.given_up: list[HeadraceError] = []
        self.time = 0.0
        self._ends_at = ends_at or tuple(signal.Signals)
        self._grown = anyio.Event()
        self.kept = Kept("worker 0", self._start, patience=patience, now=lambda: self.time, sleep=self._sleep)

    async def _start(self) -> Process:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop()
        self.started.append(Process(len(self.started) + 1, self._ends_at))
        grown, self._grown = self._grown, anyio.Event()
        grown.set()
        return self.started[-1]

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        await anyio.lowlevel.checkpoint()

    async def until(self, count: int) -> None:
        with anyio.fail_after(5):
            while len(self.started) < count:
                await self._grown.wait()

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        await self.kept.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.kept.keep, self.given_up.append)
            yield
            await self.kept.stop()


async def test_who_dies_is_started_again() -> None:
    place = Place()
    async with place.keeping():
        for number in range(3):
            place.time += QUICK_S
            place.started[number].over.set()
            await place.until(number + 2)
    assert [process.signals for process in place.started] == [[], [], [], [signal.SIGTERM]]
    assert place.given_up == []


async def test_a_start_that_fails_is_one_of_the_deaths(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    async with place.keeping():
        place.failures = [HeadraceError("no room"), HeadraceError("no room")]
        place.started[0].over.set()
        await place.until(2)
    assert len(place.delays) == 3
    assert "worker 0 (pid 1) ended with status 1; it is started again" in caplog.text
    assert "no room; it is started again" in caplog.text


async def test_a_crash_loop_ends_with_a_word_to_whoever_started_it() -> None:
    place = Place()
    async with place.keeping():
        for number in range(MOST - 1):
            place.started[number].over.set()
            await place.until(number + 2)
        place.started[-1].over.set()
        with anyio.fail_after(5):
            while not place.given_up:
                await anyio.lowlevel.checkpoint()
    assert len(place.started) == MOST
    assert place.given_up[0].message.startswith(f"worker 0 died {MOST} times in a row within 10 s")


@pytest.mark.promise("P11")
async def test_the_successor_serves_before_the_old_one_is_told_to_leave() -> None:
    place = Place()
    async with place.keeping():
        await place.kept.replace()
        old, new = place.started
        assert old.signals == [signal.SIGHUP]
        assert new.signals == []
    assert new.signals == [signal.SIGTERM]
    assert place.delays == []


@pytest.mark.promise("P11")
async def test_an_old_one_stays_where_its_successor_cannot_start() -> None:
    place = Place()
    async with place.keeping():
        place.failures = [HeadraceError("no such file")]
        with pytest.raises(HeadraceError, match="no such file"):
            await place.kept.replace()
        assert place.started[0].signals == []


@pytest.mark.promise("P11")
async def test_one_that_is_leaving_is_ended_with_its_successor() -> None:
    place = Place(signal.SIGTERM)
    async with place.keeping(), anyio.create_task_group() as tasks:
        tasks.start_soon(place.kept.replace)
        await place.until(2)
        old = place.started[0]
        while signal.SIGHUP not in old.signals:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert [process.signals for process in place.started] == [[signal.SIGHUP, signal.SIGTERM], [signal.SIGTERM]]


async def test_a_successor_that_dies_is_started_again_while_the_old_one_still_leaves() -> None:
    place = Place(signal.SIGTERM)
    async with place.keeping(), anyio.create_task_group() as tasks:
        tasks.start_soon(place.kept.replace)
        await place.until(2)
        place.started[1].over.set()
        await place.until(3)
        assert place.started[0].signals == [signal.SIGHUP]
        tasks.cancel_scope.cancel()
    assert place.started[2].signals == [signal.SIGTERM]


async def test_who_does_not_end_is_killed() -> None:
    place = Place(signal.SIGKILL, patience=-LAST_S)
    async with place.keeping():
        pass
    assert place.started[0].signals == [signal.SIGTERM, signal.SIGKILL]
