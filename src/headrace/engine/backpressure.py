"""`backpressure: pause`: the upstream is not read while the slowest reader is far behind (P23).

Off by default: the log absorbs what a reader does not take, and the answer is there when it comes back. Where nobody
shall pay for tokens that nobody reads yet, a pause fills the upstream's connection instead, and TCP holds it back.
"""

from __future__ import annotations

from typing import Protocol

import anyio

from headrace.engine.clock import Clock
from headrace.engine.patience import wait_within


class Following(Protocol):
    """A reader's place in the log."""

    @property
    def taken(self) -> int:
        """Records that it has taken and dealt with."""
        ...


class Backpressure:
    """The readers of one stream, and how far they may fall behind."""

    def __init__(self, clock: Clock, lag: int, longest: float) -> None:
        """`lag` is in records, `longest` in seconds."""
        self._clock = clock
        self._lag = lag
        self._longest = longest
        self._readers: set[Following] = set()
        self._excused: set[Following] = set()
        """Not waited for: they came late, or a whole pause did not help. Catching up makes them count again."""
        self._moved: anyio.Event | None = None

    def enter(self, reader: Following, head: int) -> None:
        """A reader attaches while the log has `head` records."""
        self._readers.add(reader)
        if self._behind(reader, head):
            self._excused.add(reader)

    def leave(self, reader: Following) -> None:
        """It is not waited for any more."""
        self._readers.discard(reader)
        self._excused.discard(reader)
        self.moved()

    def moved(self) -> None:
        """A reader has taken something."""
        if self._moved is not None:
            self._moved.set()

    def holds(self, head: int) -> bool:
        """Whether a reader that counts is too far behind a log of `head` records."""
        return bool(self._slow(head))

    async def relieve(self, head: int) -> float:
        """Wait until no reader that counts is too far behind a log of `head` records; at most the longest pause.

        Returns:
            Seconds that this took.
        """
        if not self._slow(head):
            return 0.0
        began = self._clock.monotonic()

        async def caught_up() -> None:
            while self._slow(head):
                self._moved = anyio.Event()
                await self._moved.wait()

        try:
            await wait_within(self._clock, self._longest, caught_up)
        finally:
            self._moved = None
        self._excused |= self._slow(head)
        return self._clock.monotonic() - began

    def _slow(self, head: int) -> set[Following]:
        """Those that hold the stream up."""
        self._excused = {reader for reader in self._excused if self._behind(reader, head)}
        return {reader for reader in self._readers - self._excused if self._behind(reader, head)}

    def _behind(self, reader: Following, head: int) -> bool:
        return head - reader.taken > self._lag
