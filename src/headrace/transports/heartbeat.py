"""Signs of life for idle connections: one wheel for all of them, no timer per connection and none per token."""

from __future__ import annotations

from typing import Protocol

from headrace.engine.clock import Clock

_TICKS = 8
"""Looks per interval: a write counts as begun at the look after it, so a heartbeat comes at most a quarter late."""


class Idle(Protocol):
    """A body that may need a heartbeat, or whose reader may have stopped reading."""

    last_write: float
    """Monotonic time at which the last write began; of one whose `wrote` is set, it is the next look's."""
    wrote: bool
    """Set by writes that take no time; taken back here."""

    @property
    def writing(self) -> bool:
        """Whether that write still waits for the reader."""
        ...

    def beat(self) -> None:
        """Write the heartbeat in a task of the body's own; called when nothing was written for an interval."""
        ...

    def cut(self) -> None:
        """Abort the body; called when one write has taken longer than the write timeout (P23)."""
        ...


class Heartbeats:
    """The wheel."""

    def __init__(self, clock: Clock, interval: float, write_timeout: float = 30.0) -> None:
        """Both are in seconds; a reader that takes longer than `write_timeout` for one write is cut: it can resume."""
        self.clock = clock
        self._interval = interval
        self._write_timeout = write_timeout
        self._bodies: set[Idle] = set()

    def __len__(self) -> int:
        """Bodies that are kept alive."""
        return len(self._bodies)

    def add(self, body: Idle) -> None:
        """From now on, keep it alive."""
        self._bodies.add(body)

    def remove(self, body: Idle) -> None:
        """It has ended."""
        self._bodies.discard(body)

    async def run(self) -> None:
        """Turn for ever; cancelled at shutdown."""
        while True:
            await self.clock.sleep(min(self._interval, self._write_timeout) / _TICKS)
            now = self.clock.monotonic()
            for body in tuple(self._bodies):
                if body.wrote:
                    body.wrote = False
                    body.last_write = now
                idle = now - body.last_write
                if body.writing and idle >= self._write_timeout:
                    body.cut()
                elif not body.writing and idle >= self._interval:
                    body.beat()
