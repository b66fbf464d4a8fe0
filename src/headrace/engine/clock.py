"""Time, as something that is handed in: the engine never asks the machine for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that has not run yet."""

    def cancel(self) -> None:
        """Do not run it. Idempotent; no-op once it ran."""
        ...


class Clock(Protocol):
    """Wall time for what people read, monotonic time for everything that is measured or waited for."""

    def wall(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the event loop after `delay` seconds."""
        ...

    async def sleep(self, delay: float) -> None:
        """Suspend for `delay` seconds."""
        ...


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` after `delay` seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, delay: float) -> None:
        """Suspend for `delay` seconds."""
        await asyncio.sleep(delay)


class _FakeTimer:
    """One entry of a `FakeClock`."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not run it."""
        self.callback = None


class FakeClock:
    """Time stands still until somebody moves it; for tests of everything that waits."""

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _FakeTimer]] = []

    def wall(self) -> float:
        """The same as `monotonic`."""
        return self._now

    def monotonic(self) -> float:
        """Seconds, as moved so far."""
        return self._now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` inside the `advance` that passes `delay`."""
        timer = _FakeTimer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    async def sleep(self, delay: float) -> None:
        """Suspend until `advance` has passed `delay`."""
        future = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.call_later(delay, wake)
        try:
            await future
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Move time and run what falls due, in order of time."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._now = end

    @property
    def pending(self) -> int:
        """Timers that are set and not cancelled."""
        return sum(timer.callback is not None for _, _, timer in self._timers)
