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


async def _then(event: anyio.Event, callback: Callable[[], object]) -> None:
    await event.wait()
    callback()
