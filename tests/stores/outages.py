"""A store in memory that can be away, as one that is reached over a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.bodies import Body
from headrace.errors import StoreError, StoreUnavailable
from headrace.events import Record
from headrace.stores.base import Lease, StreamInfo
from headrace.stores.waiters import Waiters
from tests.stores.waiting import WaitingStore


def away() -> StoreUnavailable:
    return StoreUnavailable("Redis at cache:6379 cannot be reached.", retry_after=1)


class OutageStore(WaitingStore):
    """While `outage` is true nothing can be asked of it, and nobody is told of anything."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.outage = False
        self.patient = True
        self.next_append: Exception | None = None
        """Raised by the next append that is asked, after it was done."""
        self.appends = 0
        """Those that were asked."""
        self._back = Waiters()

    def go(self) -> None:
        """The outage begins."""
        self.outage = True

    def come_back(self) -> None:
        """It ends."""
        self.outage = False
        self._back.wake()

    def give_up(self) -> None:
        """It has been away for too long for readers."""
        self.patient = False
        self._back.wake()

    @property
    def problem(self) -> StoreError | None:
        return away() if self.outage else None

    async def recovered(self, stream_id: str) -> None:
        while self.outage:
            await self._back.wait()
            if not self.patient:
                raise away()

    def _ask(self) -> None:
        if self.outage:
            raise away()

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        self._ask()
        return await super().acquire(stream_id, owner, request, ttl)

    async def renew(self, lease: Lease, ttl: float) -> None:
        self._ask()
        await super().renew(lease, ttl)

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        self.appends += 1
        self._ask()
        await super().append(lease, first_seq, records)
        problem, self.next_append = self.next_append, None
        if problem is not None:
            raise problem

    async def finish(self, lease: Lease, record: Record) -> None:
        self._ask()
        await super().finish(lease, record)

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        self._ask()
        return await super().read(stream_id, after, limit)

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        self._ask()
        return await super().abandoned(limit)

    async def status(self, stream_id: str) -> StreamInfo:
        self._ask()
        return await super().status(stream_id)
