"""Streams that their callers did not want stored: gone once they have ended and nobody has read them for a while.

No timer is set per stream: one task of the engine looks at all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from headrace.config import Disconnect
from headrace.engine.clock import Clock
from headrace.engine.idempotency import Claims, IdempotencyKey
from headrace.engine.readers import Readers
from headrace.errors import HeadraceError, NotFound
from headrace.policy import disconnect
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")


class _Stay(msgspec.Struct):
    """How long one of them is still there."""

    grace: float
    key: IdempotencyKey | None
    until: float | None = None
    """Monotonic; None while it runs."""


class Unstored:
    """Those of one node."""

    def __init__(self, store: StreamStore, claims: Claims, readers: Readers, clock: Clock) -> None:
        self._store = store
        self._claims = claims
        self._readers = readers
        self._clock = clock
        self._stays: dict[str, _Stay] = {}
        self._trouble = False
        """Whether something went wrong the last time: that is logged once."""

    def __len__(self) -> int:
        """How many there are, running and ended."""
        return len(self._stays)

    def add(self, stream_id: str, policy: Disconnect, key: IdempotencyKey | None) -> None:
        """One has begun, and will end. It stays for its policy's grace time, if that has one."""
        grace = policy if policy.mode == "grace" else disconnect.GRACE
        self._stays[stream_id] = _Stay(grace.seconds, key)

    def ended(self, stream_id: str) -> None:
        """Its log is closed: the grace begins. No-op for a stream that is stored."""
        stay = self._stays.get(stream_id)
        if stay is not None:
            stay.until = self._clock.monotonic() + stay.grace

    def left(self, stream_id: str) -> None:
        """A reader left: if the stream has ended, the grace begins anew. No-op for a stream that is stored."""
        stay = self._stays.get(stream_id)
        if stay is not None and stay.until is not None:
            self.ended(stream_id)

    async def sweep(self) -> None:
        """Delete those whose time is over and whom nobody reads. Never raises."""
        now = self._clock.monotonic()
        over = [
            stream_id
            for stream_id, stay in self._stays.items()
            if stay.until is not None and stay.until <= now and not self._readers.of(stream_id)
        ]
        await self._delete_all(over)

    async def clear(self) -> None:
        """Delete all: the engine stops. Never raises."""
        await self._delete_all(tuple(self._stays))
        self._stays.clear()

    async def _delete_all(self, stream_ids: Sequence[str]) -> None:
        """Say what went wrong once for all, and once for as long as something does."""
        problems: list[str] = []
        for stream_id in stream_ids:
            try:
                await self._delete(stream_id, self._stays[stream_id])
            except HeadraceError as error:  # the next sweep tries again
                problems.append(str(error))
            except Exception as error:  # it would end every stream of this node
                problems.append(repr(error))
                if not self._trouble:
                    log.exception("defect in deleting stream %s", stream_id)
        if problems and not self._trouble:
            log.warning("%d streams were not to be stored, and could not be deleted: %s", len(problems), problems[0])
        self._trouble = bool(problems)

    async def _delete(self, stream_id: str, stay: _Stay) -> None:
        try:
            if stay.key is not None:
                await self._claims.release(stay.key, stream_id)
            await self._store.delete(stream_id)
        except NotFound:  # somebody else was faster
            pass
        self._stays.pop(stream_id, None)
