"""Waiting that ends: when it is over, when time is up, or when somebody says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from headrace.engine.clock import Clock


async def wait_within(
    clock: Clock, seconds: float, work: Callable[[], Awaitable[object]], cut: anyio.Event | None = None
) -> None:
    """Return when `work` does, after `seconds`, or when `cut` is set, whichever comes first; not an error."""
    if seconds <= 0:
        return
    async with anyio.create_task_group() as tasks:
        stop = tasks.cancel_scope.cancel
        timer = clock.call_later(seconds, stop)
        if cut is not None:
            tasks.start_soon(_then, cut, stop)
        try:
            await work()
        finally:
            timer.cancel()
        stop()


class Signal:
    """Set once, for ever. Each stream has one that hardly ever is waited for: an `anyio.Event` would take 900 bytes."""

    __slots__ = ("_event", "is_set")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self.is_set = False

    def set(self) -> None:
        """Let everybody go who waits now or later."""
        self.is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Return once it is set."""
        if self.is_set:
            return
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()


async def _then(event: anyio.Event, callback: Callable[[], object]) -> None:
    await event.wait()
    callback()
