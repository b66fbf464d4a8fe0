"""A process that is kept running: started again when it dies, replaced while it serves, ended in order."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio

from headrace.cli.supervisor.restarts import MOST, QUICK_S, Restarts
from headrace.errors import HeadraceError

log = logging.getLogger("headrace.supervisor")

LAST_S: Final = 10.0
"""How long a process has that is to end, beyond what it needs by its own account."""


class Running(Protocol):
    """What is needed of a `Child`."""

    pid: int
    over: anyio.Event

    @property
    def status(self) -> str:
        """How it ended, in words."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        ...


class Kept:
    """One place for a process, and who is in it."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Running]],
        *,
        patience: float = 0.0,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """`start` gives one that is ready, or raises `HeadraceError`; `patience` is for its end, in seconds."""
        self.name = name
        self._start = start
        self._patience = patience
        self._now = now
        self._sleep = sleep
        self._current: Running | None = None
        self._since = 0.0
        self._changed = anyio.Event()
        self._leaving: set[Running] = set()
        self._turn = anyio.Lock()
        self._life = anyio.CancelScope()

    async def open(self) -> None:
        """Start it.

        Raises:
            HeadraceError: it could not be started, and is not tried again.
        """
        self._current = await self._start()
        self._since = self._now()
        self._changed.set()

    async def keep(self, give_up: Callable[[HeadraceError], object]) -> None:
        """Start it again whenever it has died, until `stop`; `give_up` is told when that has become pointless."""
        restarts = Restarts()
        with self._life:
            while True:
                dead = await self._watch()
                async with self._turn:
                    if dead is not None and dead is self._current and not await self._revive(dead, restarts):
                        break
            give_up(HeadraceError(f"{self.name} died {MOST} times in a row within {QUICK_S:g} s: see the log above"))

    async def _watch(self) -> Running | None:
        """Whoever is in the place, once he has died; None once another one has taken it."""
        current = self._current
        assert current is not None
        self._changed = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def until(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until, current.over)
            tasks.start_soon(until, self._changed)
        return current if current.over.is_set() else None

    async def _revive(self, dead: Running, restarts: Restarts) -> bool:
        """Whether it lives again."""
        problem = f"{self.name} (pid {dead.pid}) ended with {dead.status}"
        lived = self._now() - self._since
        while (delay := restarts.died(lived)) is not None:
            log.error("%s; it is started again in %.1f s", problem, delay)
            await self._sleep(delay)
            try:
                await self.open()
            except HeadraceError as error:
                problem, lived = error.message, 0.0
            else:
                return True
        log.error("%s; that is enough", problem)
        return False

    async def replace(self) -> None:
        """Put a new one into its place, tell the old one to leave, and return once it has.

        Raises:
            HeadraceError: the new one could not be started; the old one stays.
        """
        async with self._turn:
            old = self._current
            await self.open()
        if old is None:
            return
        self._leaving.add(old)  # and if this is cancelled, `stop` waits for it too
        old.send(signal.SIGHUP)
        await self._ended(old)
        self._leaving.discard(old)

    async def stop(self) -> None:
        """Tell it to end, and return once it has; whoever takes too long is killed."""
        self._life.cancel()
        self.signal(signal.SIGTERM)
        for each in self._all():
            await self._ended(each)
        self._current = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, to one that is leaving too."""
        for each in self._all():
            each.send(number)

    def _all(self) -> list[Running]:
        return [*self._leaving, *([] if self._current is None else [self._current])]

    async def _ended(self, each: Running) -> None:
        with anyio.move_on_after(self._patience + LAST_S):
            await each.over.wait()
        if not each.over.is_set():
            log.error("%s (pid %d) does not end and is killed", self.name, each.pid)
            each.send(signal.SIGKILL)
            await each.over.wait()
