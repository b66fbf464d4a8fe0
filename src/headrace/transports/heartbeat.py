"""Signs of life for idle connections: one wheel for all of them, no timer per connection and none per token."""

from __future__ import annotations

from typing import Protocol

import anyio

from headrace.engine.clock import Clock

_TICKS = 4
"""Looks per interval: a heartbeat comes at most a quarter of the interval late."""


class Idle(Protocol):
    """A body that may need a heartbeat."""

    last_write: float
    """Monotonic time of the last bytes."""

    async def beat(self) -> None:
        """Write the heartbeat; called only when nothing was written for an interval."""
        ...


class Heartbeats:
    """The wheel. `interval` is in seconds."""

    def __init__(self, clock: Clock, interval: float) -> None:
        self.clock = clock
        self._interval = interval
        self._bodies: set[Idle] = set()

    def add(self, body: Idle) -> None:
        """From now on, keep it alive."""
        self._bodies.add(body)

    def remove(self, body: Idle) -> None:
        """It has ended."""
        self._bodies.discard(body)

    async def run(self) -> None:
        """Turn for ever; cancelled at shutdown."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self.clock.sleep(self._interval / _TICKS)
                due = self.clock.monotonic() - self._interval
                for body in tuple(self._bodies):
                    if body.last_write <= due:
                        # A task of its own: a reader that does not read must not hold up the others.
                        tasks.start_soon(body.beat)
