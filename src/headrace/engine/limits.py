"""How many streams one owner may have running at once (P24)."""

from __future__ import annotations

from collections import Counter

from headrace.errors import RateLimited

_RETRY_AFTER = 1.0
"""Seconds. Nobody knows when a stream ends; a client's own backoff goes on from here."""


class Slot:
    """The right to run one stream."""

    def __init__(self, running: Counter[str], owner: str) -> None:
        self._running = running
        self._owner: str | None = owner

    def free(self) -> None:
        """Give it back. Idempotent, so that whoever ends a stream may call it."""
        owner, self._owner = self._owner, None
        if owner is None:
            return
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]


class RunningStreams:
    """Who runs how many streams on this node."""

    def __init__(self, most: int) -> None:
        """`most` is per owner."""
        self._most = most
        self._running: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Slots that are taken, of all owners."""
        return self._running.total()

    def take(self, owner: str) -> Slot:
        """A slot, which the stream's task must free.

        Raises:
            RateLimited: the owner has all of them in use.
        """
        if self._running[owner] >= self._most:
            raise RateLimited(
                f"{self._most} streams of this key are running, which is the limit (max_running_per_key): "
                "wait until one has ended, or cancel one.",
                code="too_many_streams",
                retry_after=_RETRY_AFTER,
            )
        self._running[owner] += 1
        return Slot(self._running, owner)
