"""Streams whose producer is gone get their end, or go on, by whichever node sees it first (P3)."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Container, Sequence

import anyio

from headrace.config import Config
from headrace.engine import continuation
from headrace.engine.clock import Clock
from headrace.engine.folding import drafted
from headrace.engine.observer import Ended, Source
from headrace.engine.order import Route, Router
from headrace.engine.outcomes import lost
from headrace.engine.relay import Job
from headrace.engine.report import Reporter
from headrace.engine.usage import total
from headrace.errors import BadRequest, Fenced, HeadraceError, LeaseHeld, LogFull, NotFound, RateLimited
from headrace.events import Cancelled, Record, StreamStart
from headrace.policy import disconnect
from headrace.stores.base import Lease, StreamInfo, StreamStore
from headrace.transforms.seam import Draft

log = logging.getLogger("headrace.engine")

LOOK = 0.5
"""Seconds between two looks: an end is to be there within the time of the lease and a second, and it takes half of that
to write many of them. One look is one command where there is nothing."""

_TIMELY = 1.0
"""Seconds that a look may be late, or take: after a longer silence of the store all leases may have run out."""

_MOST = 100
"""Streams that are taken in one look; more of them come with the next, at once."""
_AT_ONCE = 8

Adopt = Callable[[Job, Lease, Source], Awaitable[None]]
"""Lets a relay of this node go on with a stream.

Raises `RateLimited`, `LogFull`, or what the store raises; then there is no relay.
"""


class Takeover:
    """Looks for them all the time."""

    def __init__(
        self,
        config: Config,
        store: StreamStore,
        clock: Clock,
        reporter: Reporter,
        router: Router | None,
        own: Container[str],
        adopt: Adopt | None,
    ) -> None:
        """`own` are the streams with a relay here: one that stood still goes on. Without `router` all others end."""
        self._config = config
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._router = router
        self._own = own
        self._adopt = adopt
        self._trouble = False
        """Whether the store did not answer last time: that is logged once."""
        self._steady_since = self._last_look = clock.monotonic()
        """Since when every look was answered in time."""

    def keep_none(self) -> None:
        """The server stops: what should be continued is left to others from now on."""
        self._adopt = None

    async def run(self) -> None:
        """Never ends by itself, and never raises."""
        while True:
            if not await self._look():
                await self._clock.sleep(LOOK)

    async def _look(self) -> bool:
        """Take what there is; whether there may be more at once."""
        failures: list[Exception] = []
        found: list[StreamInfo] = []
        try:
            found = [info for info in await self._abandoned() if info.id not in self._own]
            random.shuffle(found)  # nodes that see the same ones meet at few of them
            limit = anyio.CapacityLimiter(_AT_ONCE)
            async with anyio.create_task_group() as tasks:
                for info in found:
                    tasks.start_soon(self._safely_take, info, limit, failures)
        except Exception as error:  # noqa: BLE001 - it would end every stream of this node; `_note` tells
            failures.append(error)
        self._note(failures)
        return len(found) == _MOST and not failures

    async def _abandoned(self) -> Sequence[StreamInfo]:
        """None for a lease's time after the store was silent: producers that live come back first, and renew theirs."""
        began, last = self._clock.monotonic(), self._last_look
        try:
            found = await self._store.abandoned(_MOST)
        finally:
            now = self._last_look = self._clock.monotonic()
            if self._store.problem is not None or now - last > LOOK + _TIMELY:
                self._steady_since = now
        return found if began - self._steady_since >= self._config.lease_seconds else ()

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

    async def _safely_take(self, info: StreamInfo, limit: anyio.CapacityLimiter, failures: list[Exception]) -> None:
        async with limit:
            try:
                await self._take(info)
            except (LeaseHeld, Fenced, NotFound):
                pass  # another node was faster, or its producer has come back
            except Exception as error:  # noqa: BLE001 - the others are taken all the same
                failures.append(error)

    async def _take(self, info: StreamInfo) -> None:
        if self._adopt is None and await self._is_for_others(info.id):
            return
        lease = await self._store.acquire(info.id, info.owner, b"", self._config.lease_seconds)
        if lease.next_seq == 0:  # not even record 0: nobody has heard of it
            await self._store.delete(info.id)
            return
        draft = await drafted(self._store, info.id)
        if draft.start is None or not await self._goes_on(lease, draft, draft.start):
            await self._end(info, lease, draft)

    async def _is_for_others(self, stream_id: str) -> bool:
        """Whether it should be continued, by a node that does not stop."""
        records = await self._store.read(stream_id, -1, 1)
        start = records[0].events[0] if records else None
        return isinstance(start, StreamStart) and self._route(start, continuing=True) is not None

    def _route(self, start: StreamStart, *, continuing: bool = False) -> Route | None:
        route = self._router.route(start.model) if self._router is not None else None
        if continuing and route is not None and route.settings.on_producer_loss != "continue":
            return None
        return route

    async def _goes_on(self, lease: Lease, draft: Draft, start: StreamStart) -> bool:
        """Continue it, if that is wanted and possible."""
        route = self._route(start, continuing=True)
        if route is None or lease.cancel is not None or self._adopt is None:
            return False
        try:
            asked = await continuation.request_of(draft, await self._store.request(lease.id))
            route.provider.check(asked)
            # Where the log has nothing of an answer, what comes is the answer as it is.
            provider = route.provider if draft.step is None else continuation.Continuing(route.provider, draft)
            opening = continuation.opening(draft)
            # Its readers may be on any node, so none of them leaving here means anything.
            policy = disconnect.CONTINUE
            job = Job(start, asked, provider, route.upstream_model, policy, route.settings, opening)
            await self._adopt(job, lease, route.source)
        except (BadRequest, RateLimited, LogFull) as error:
            log.info("stream %s: its producer is gone, and it is not continued: %s", lease.id, error)
            return False
        log.info("stream %s: its producer is gone; it is continued", lease.id)
        return True

    async def _end(self, info: StreamInfo, lease: Lease, draft: Draft) -> None:
        start = draft.start or StreamStart(info.id, info.owner, info.created_ms // 1000, "", "")
        terminal = lost() if lease.cancel is None else Cancelled(lease.cancel)
        usage = total(draft.whole, start, terminal)
        now = self._clock.wall()
        await self._store.finish(lease, Record(lease.next_seq, int(now * 1000), (usage, terminal)))
        route = self._route(start)
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
