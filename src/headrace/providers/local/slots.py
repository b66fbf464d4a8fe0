"""How many answers are written at once, and who waits for a turn."""

from __future__ import annotations

import asyncio
from collections import deque

from headrace.errors import RateLimited, UpstreamUnavailable

# Four answers of 100 tokens at about 15 tokens per second each end one every two seconds.
_RETRY_AFTER_S = 2.0


class Slots:
    """First come, first served: a fixed number of turns, and a bounded queue for them."""

    def __init__(self, slots: int, queue: int) -> None:
        self._free = slots
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn; whoever is cancelled while waiting leaves the queue at once.

        Raises:
            RateLimited: the queue is full; raised without waiting.
            UpstreamUnavailable: the provider was closed meanwhile.
        """
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise RateLimited(
                f"the embedded model is busy and {self._queue} requests (local_queue) wait for it: try again soon",
                retry_after=_RETRY_AFTER_S,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self.give_back()  # the turn came in the same moment
            raise

    def give_back(self) -> None:
        """End a turn; the first in the queue gets it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Send everybody who waits away."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(UpstreamUnavailable("the embedded model is being shut down"))
