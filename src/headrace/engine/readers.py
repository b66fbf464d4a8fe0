"""Who reads which stream on this node: how many, how many at most (P24), and when all have left (P11)."""

from __future__ import annotations

from collections import Counter

import anyio

from headrace.errors import Overloaded

_RETRY_AFTER = 1.0
"""Seconds: readers come and go."""


class Readers:
    """A count per stream."""

    def __init__(self, most: int) -> None:
        """`most` is per stream."""
        self._most = most
        self._reading: Counter[str] = Counter()
        self._shared: dict[str, dict[object, object]] = {}
        self._gone: anyio.Event | None = None

    def __len__(self) -> int:
        """Streams that somebody reads."""
        return len(self._reading)

    @property
    def total(self) -> int:
        """Readers of all streams."""
        return self._reading.total()

    def of(self, stream_id: str) -> int:
        """Readers of one stream."""
        return self._reading.get(stream_id, 0)

    def enter(self, stream_id: str) -> None:
        """One more, who must leave again.

        Raises:
            Overloaded: the stream has as many as it may have.
        """
        if self.of(stream_id) >= self._most:
            raise Overloaded(
                f"{self._most} readers follow this stream, which is the limit (max_readers_per_stream): "
                "try again in a moment.",
                code="too_many_readers",
                retry_after=_RETRY_AFTER,
            )
        self._reading[stream_id] += 1

    def shared(self, stream_id: str) -> dict[object, object]:
        """What the readers of a stream have in common; it goes with the last of them."""
        return self._shared.setdefault(stream_id, {})

    def leave(self, stream_id: str) -> None:
        """One less."""
        self._reading[stream_id] -= 1
        if not self._reading[stream_id]:
            del self._reading[stream_id]
            self._shared.pop(stream_id, None)
        if self._gone is not None and not self._reading:
            self._gone.set()

    async def gone(self) -> None:
        """Return once nobody reads anything."""
        while self._reading:
            self._gone = anyio.Event()
            await self._gone.wait()
