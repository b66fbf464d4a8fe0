"""The log of one stream, as its producer writes it: in order, without a gap, and through an outage of the store."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import anyio
import msgspec

from headrace.engine.clock import Clock, Timer
from headrace.errors import HeadraceError, InternalError, LogFull, StoreUnavailable
from headrace.events import Chunk, Event, Record
from headrace.stores.base import Lease, StreamStore
from headrace.stores.weight import weigh

log = logging.getLogger("headrace.engine")

RETRY = 0.25
"""Seconds between two tries of a store that is away: one that knows it refuses at once."""

_PIECE = 500
"""Records of one append after an outage: a store that has just come back has all its streams to serve."""


class Outage(msgspec.Struct, frozen=True):
    """How an outage of the store is borne."""

    buffer: int
    """Bytes of memory that one stream's records may take meanwhile."""
    seconds: float
    spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
    """Lets a task run beside the stream's own."""


class LogWriter:
    """Appends under a lease.

    While the store is away records wait here, the upstream is read on, and a task tries again: the same seqs twice are
    a no-op for the store, so what was cut off half-way is sent again.
    """

    __slots__ = (
        "_clock",
        "_failed",
        "_flushing",
        "_kept",
        "_kept_bytes",
        "_lease",
        "_outage",
        "_sending",
        "_store",
        "_until",
        "next_seq",
    )

    def __init__(
        self,
        store: StreamStore,
        lease: Lease,
        clock: Clock,
        outage: Outage,
        failed: Callable[[HeadraceError], None],
    ) -> None:
        """`failed` is told once, and outside of every call, why what was kept will not be in the log."""
        self.next_seq = lease.next_seq
        """Of the next record: how many there are, those that wait included."""
        self._store = store
        self._lease = lease
        self._clock = clock
        self._outage = outage
        self._failed = failed
        self._sending: list[Record] = []
        """What may be in the log, or not: its append has not been acknowledged."""
        self._kept: list[Record] = []
        """What comes after those, and has not been sent."""
        self._kept_bytes = 0
        self._until: Timer | None = None
        """Runs while the store is away."""
        self._flushing: anyio.Lock | None = None

    async def open(self, batch: Sequence[Chunk]) -> None:
        """Append what makes the stream readable; nothing is kept for later. Raises what `StreamStore.append` raises."""
        records = self._records(batch)
        if not self._store.append_now(self._lease, self.next_seq, records):
            await self._store.append(self._lease, self.next_seq, records)
        self.next_seq += len(records)

    def write(self, batch: Sequence[Chunk]) -> Coroutine[Any, Any, None] | None:
        """Append; gives back what has to be awaited before the next call, if the store needs waiting.

        Not a coroutine, because a store in memory is done when it returns: this is called for every token. Both raise
        what `StreamStore.append` raises, except for `StoreUnavailable`, unless there is no room to keep more.
        """
        records = self._records(batch)
        if self._until is not None:
            self._keep(records)
            return None
        if not self._store.append_now(self._lease, self.next_seq, records):
            return self._append(records)
        self.next_seq += len(records)
        return None

    async def flush(self) -> None:
        """Return once everything written is in the log. Raises what `StreamStore.append` raises."""
        if self._flushing is None:
            await self._flush()
        else:
            async with self._flushing:
                await self._flush()

    async def finish(self, events: tuple[Event, ...]) -> None:
        """Append the terminal record and close the log; everything else must be there. Raises `StoreUnavailable`."""
        record = Record(self.next_seq, int(self._clock.wall() * 1000), events)
        await self._store.finish(self._lease, record)
        self.next_seq += 1

    async def insist(self, work: Callable[[], Awaitable[None]], seconds: Callable[[], float]) -> None:
        """Do `work` on the store, again and again while that is away, for `seconds` after the first time.

        They are asked for each time.

        Raises:
            StoreUnavailable: it stays away.
        """
        began = self._clock.monotonic()
        while True:
            try:
                return await work()
            except StoreUnavailable:
                if self._clock.monotonic() + RETRY > began + seconds():
                    raise
            await self._clock.sleep(RETRY)

    def stop(self) -> None:
        """No more tries than those that the caller makes. Idempotent."""
        if self._until is not None:
            self._until.cancel()
            self._until = None

    def _records(self, batch: Sequence[Chunk]) -> list[Record]:
        at_ms = int(self._clock.wall() * 1000)
        if len(batch) == 1:
            return [Record(self.next_seq, at_ms, batch[0].events, batch[0].raw)]
        return [Record(number, at_ms, chunk.events, chunk.raw) for number, chunk in enumerate(batch, self.next_seq)]

    async def _append(self, records: list[Record]) -> None:
        self._kept += records
        self.next_seq += len(records)
        try:
            await self.flush()
        except StoreUnavailable:
            self._flushing = anyio.Lock()
            self._until = self._clock.call_later(self._outage.seconds, self._give_up)
            self._kept_bytes = weigh(self._sending) + weigh(self._kept)
            self._outage.spawn(self._recover)

    def _keep(self, records: list[Record]) -> None:
        self._kept += records
        self.next_seq += len(records)
        self._kept_bytes += weigh(records)
        if self._kept_bytes > self._outage.buffer:
            raise _away(f"{self._outage.buffer} bytes have come since then (store_outage_buffer)")

    async def _flush(self) -> None:
        try:
            while self._sending or self._kept:
                if not self._sending:
                    self._sending, self._kept = self._kept[:_PIECE], self._kept[_PIECE:]
                await self._store.append(self._lease, self._sending[0].seq, self._sending)
                self._sending = []
        except LogFull:  # none of these is in the log, and the terminal record takes their place
            self.next_seq = self._sending[0].seq
            self._sending, self._kept = [], []
            raise

    async def _recover(self) -> None:
        """Try until all is in the log; from then on it is written to directly."""
        while self._until is not None:
            try:
                await self.flush()
            except StoreUnavailable:
                await self._clock.sleep(RETRY)
            except HeadraceError as error:
                self.stop()
                self._failed(error)
            except Exception:  # it would end every stream of this node
                log.exception("stream %s: defect in writing what was kept", self._lease.id)
                self.stop()
                self._failed(InternalError("The server made a mistake; it is in its log."))
            else:
                self.stop()

    def _give_up(self) -> None:
        self._until = None
        self._failed(_away(f"it has been away for {self._outage.seconds:g} s (store_outage_timeout)"))


def _away(why: str) -> StoreUnavailable:
    return StoreUnavailable(f"The store of the streams cannot be reached, and {why}.", retry_after=1)
