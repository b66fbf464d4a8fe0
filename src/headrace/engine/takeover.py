"""Streams whose producer is gone get their end, or go on, by whichever node sees it first (P3)."""

from __future__ import annotations

import logging
import random
from collections.abc import Container, Sequence

import anyio

from headrace.engine.clock import Clock
from headrace.engine.folding import drafted
from headrace.engine.observer import Ended, Source
from headrace.engine.outcomes import lost
from headrace.engine.report import Reporter
from headrace.engine.successor import Successor
from headrace.engine.unstored import Unstored
from headrace.engine.usage import total
from headrace.errors import Fenced, HeadraceError, LeaseHeld, NotFound
from headrace.events import Cancelled, Record, StreamStart
from headrace.policy import disconnect
from headrace.stores.base import Lease, StreamInfo, StreamStore
from headrace.transforms.seam import Draft

log = logging.getLogger("headrace.engine")

LOOK = 0.5
"""Seconds between two looks: an end is to be there within the time of the lease and a second, and it takes half of that
to write many of them. One look is one command where there is nothing."""

_TIMELY = 1.0
"""Seconds that a look may be late, or an answer may take: after a longer silence all leases may have run out."""

_MOST = 100
"""Streams that are taken in one look; more of them come with the next, at once."""
_AT_ONCE = 8


class Takeover:
    """Looks for them all the time."""

    def __init__(
        self,
        lease_seconds: float,
        store: StreamStore,
        clock: Clock,
        reporter: Reporter,
        unstored: Unstored,
        successor: Successor,
        own: Container[str],
    ) -> None:
        """`own` are the streams with a relay here: one that stood still goes on."""
        self._lease = lease_seconds
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._unstored = unstored
        self._successor = successor
        self._own = own
        self._trouble = False
        """Whether something went wrong the last time: that is logged once."""
        self._steady_since = self._last_heard = clock.monotonic()
        """Since when the store has answered in time."""

    async def run(self) -> None:
        """Never ends by itself, and never raises."""
        while True:
            if not await self._look():
                await self._clock.sleep(LOOK)

    async def _look(self) -> bool:
        """Take what there is; whether there may be more at once."""
        failures: list[Exception] = []
        found: list[StreamInfo] = []
        taken: list[str] = []
        try:
            found = [info for info in await self._abandoned() if info.id not in self._own]
            random.shuffle(found)  # nodes that see the same ones meet at few of them
            limit = anyio.CapacityLimiter(_AT_ONCE)
            async with anyio.create_task_group() as tasks:
                for info in found:
                    tasks.start_soon(self._safely_take, info, limit, taken, failures)
        except Exception as error:  # noqa: BLE001 - it would end every stream of this node; `_note` tells
            failures.append(error)
        self._note(failures)
        # Where none was taken the same ones would be found again.
        return len(found) == _MOST and bool(taken) and not failures

    async def _abandoned(self) -> Sequence[StreamInfo]:
        """None for a lease's time after the store was silent: producers that live come back first, and renew theirs."""
        began = self._clock.monotonic()
        try:
            found = await self._store.abandoned(_MOST)
        finally:
            self._heard()
        return found if began - self._steady_since >= self._lease else ()

    def _heard(self) -> None:
        """The store has answered, or has been given up."""
        now, last = self._clock.monotonic(), self._last_heard
        self._last_heard = now
        if self._store.problem is not None or now - last > LOOK + _TIMELY:
            self._steady_since = now

    def _note(self, failures: Sequence[Exception]) -> None:
        """Say what went wrong, once for as long as something does."""
        if failures and not self._trouble:
            defects = [error for error in failures if not isinstance(error, HeadraceError)]
            error = (defects or failures)[0]
            text = "streams whose producer is gone cannot be taken over"
            if defects:
                log.error("defect: %s", text, exc_info=error)
            else:
                log.warning("%s: %s", text, error)
        self._trouble = bool(failures)

    async def _safely_take(
        self, info: StreamInfo, limit: anyio.CapacityLimiter, taken: list[str], failures: list[Exception]
    ) -> None:
        async with limit:
            try:
                if await self._take(info):
                    taken.append(info.id)
            except (LeaseHeld, Fenced, NotFound):
                pass  # another node was faster, or its producer has come back
            except Exception as error:  # noqa: BLE001 - the others are taken all the same
                failures.append(error)
            else:
                self._heard()  # many, or long ones, take longer than a look may be late

    async def _take(self, info: StreamInfo) -> bool:
        """Whether it was taken, and not left to others."""
        if self._successor.retired and await self._is_for_others(info.id):
            return False
        lease = await self._store.acquire(info.id, info.owner, b"", self._lease)
        if lease.next_seq == 0:  # not even record 0: nobody has heard of it
            await self._store.delete(info.id)
            return True
        draft = await self._draft(info.id)
        if not await self._successor.goes_on(lease, draft):
            await self._end(info, lease, draft)
        return True

    async def _draft(self, stream_id: str) -> Draft:
        try:
            return await drafted(self._store, stream_id)
        except HeadraceError:
            raise
        except Exception:  # a log that cannot be read must not stay open for that
            log.exception("stream %s: its producer is gone, and its log cannot be read", stream_id)
            return Draft()

    async def _is_for_others(self, stream_id: str) -> bool:
        """Whether it should be continued, by a node that does not stop."""
        records = await self._store.read(stream_id, -1, 1)
        start = records[0].events[0] if records else None
        return isinstance(start, StreamStart) and self._successor.wants(start)

    async def _end(self, info: StreamInfo, lease: Lease, draft: Draft) -> None:
        start = draft.start or StreamStart(info.id, info.owner, info.created_ms // 1000, "", "")
        terminal = lost() if lease.cancel is None else Cancelled(lease.cancel)
        usage = total(draft.whole, start, terminal)
        now = self._clock.wall()
        await self._store.finish(lease, Record(lease.next_seq, int(now * 1000), (usage, terminal)))
        route = self._successor.route(start)
        await self._reporter.tell(
            Ended(
                start=start,
                source=Source() if route is None else route.source,
                upstream_model=draft.step.model if draft.step is not None else "",
                request_id=None,
                terminal=terminal,
                at=now,
                duration=max(0.0, now - info.created_ms / 1000),
                ttft=None,
                usage=usage,
                retries=draft.retries,
                readers=0,
                resumes=0,
                records=lease.next_seq + 1,
            )
        )
        if not await self._store.request(info.id):  # it was not to be stored, and its node had to see to that
            self._unstored.add(info.id, disconnect.GRACE, None)
            self._unstored.ended(info.id)
