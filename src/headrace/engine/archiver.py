"""Ended streams on their way to the archive: each is put there once it has ended, and again until it has arrived."""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

import anyio
import anyio.to_thread

from headrace.engine.clock import Clock
from headrace.engine.export import exported
from headrace.engine.observer import Ended, Observer
from headrace.engine.patience import wait_within
from headrace.errors import ArchiveError, HeadraceError, NotFound
from headrace.stores.base import StreamInfo, StreamStore
from headrace.stores.waiters import Waiters

log = logging.getLogger("headrace.archive")

CONCURRENCY = 4
"""Streams that are put at the same time; each takes about 20 MiB of memory at most."""
MOST_WAITING = 100_000
"""Streams that may wait: 14 MB, and at 25 ended streams a second an hour of outage, the default of their retention."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds of rest after a try that failed, doubled with every one in a row."""
_JITTER = 0.25

_PAGE = 100
"""Streams a look into the store."""
_GZIP = 31
"""zlib's word for gzip, with a header that has no time in it: the same log gives the same object."""

Result = Literal["archived", "failed", "lost"]
"""What became of a try: `failed` is tried again, `lost` is not."""


class Objects(Protocol):
    """Where archived streams go: see `stores.objects`."""

    name: str

    async def put(self, key: str, pieces: AsyncGenerator[bytes]) -> None:
        """Write an object, whole or not at all. Raises `ArchiveError`, or what `pieces` raises."""
        ...

    async def has(self, key: str) -> bool:
        """Whether there is one. Raises `ArchiveError`."""
        ...


class Archiver(Observer):
    """Holds the ids of streams that are to be archived, and reads each log when it is its turn.

    Nothing that goes wrong here reaches a stream. What waits is lost with the process; `run` therefore begins with
    what the store still has of earlier ones.
    """

    def __init__(self, store: StreamStore, objects: Objects, clock: Clock, observer: Observer) -> None:
        """`observer` is told what became of each try."""
        self._store = store
        self._objects = objects
        self._clock = clock
        self._observer = observer
        self._waiting: dict[str, None] = {}
        self._busy: set[str] = set()  # being put, or to be put again
        self._changed = Waiters()
        self._hurried = Waiters()

    def __len__(self) -> int:
        """Streams that are not archived yet."""
        return len(self._waiting) + len(self._busy)

    def ended(self, stream: Ended) -> None:
        """See `Observer`: it has to be archived, unless it was not to be stored."""
        self._add(stream.start.id)

    def _add(self, stream_id: str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            log.error("stream %s: not archived: %d others wait", stream_id, MOST_WAITING)
            self._observer.archived("lost")
            return
        self._waiting[stream_id] = None
        self._changed.wake()

    async def run(self, owners: Sequence[str]) -> None:
        """Archive; a task of the engine's, cancelled at its end. `owners`: whose streams the store may have."""
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(CONCURRENCY):
                    tasks.start_soon(self._work)
                try:
                    await self._catch_up(owners)
                except Exception:  # it would end every stream
                    log.exception("what is not archived yet was not looked for: defect")
        finally:
            left = [*self._busy, *self._waiting]
            if left:
                log.error("%d ended streams were not archived: %s", len(left), ", ".join(left[:_PAGE]))

    async def idle(self) -> None:
        """Return when all that have ended are archived; those that wait for another try have it now."""
        self._hurried.wake()
        while len(self):
            await self._changed.wait()

    async def _work(self) -> None:
        failures = 0
        while True:
            while not self._waiting:
                await self._changed.wait()
            stream_id = next(iter(self._waiting))
            del self._waiting[stream_id]
            self._busy.add(stream_id)
            result = await self._try(stream_id)
            if result is not None:
                self._observer.archived(result)
            if result == "failed":
                failures += 1
                await wait_within(self._clock, _pause(failures), self._hurried.wait)
                self._waiting[stream_id] = None  # behind the others: it may be its own fault
            else:
                failures = 0
            self._busy.discard(stream_id)
            self._changed.wake()

    async def _try(self, stream_id: str) -> Result | None:
        """Put one stream; None for one that is not to be archived. Never raises."""
        try:
            info = await self._store.status(stream_id)
            request = await self._store.request(stream_id)
            if not request:  # it was not to be stored
                return None
            if info.state == "running":  # its end could not be written; whoever takes it over will
                raise ArchiveError("its log has no end yet")
            await self._objects.put(key_of(info), _gzipped(exported(self._store, info, request)))
        except NotFound:
            log.error("stream %s: not archived: it was deleted or has expired before", stream_id)
            return "lost"
        except HeadraceError as error:
            log.warning("stream %s: not archived yet, it will be tried again: %s", stream_id, error)
            return "failed"
        except Exception:
            log.exception("stream %s: not archived: defect", stream_id)
            return "lost"
        return "archived"

    async def _catch_up(self, owners: Sequence[str]) -> None:
        """Find what ended streams the archive does not have: those of a process that could not put them."""
        for owner in owners:
            before: str | None = None
            while page := await self._page(owner, before):
                for info in page:
                    if info.state != "running" and not await self._has(info):
                        while len(self._waiting) >= CONCURRENCY:  # those that end now go first
                            await self._changed.wait()
                        self._add(info.id)
                before = page[-1].id

    async def _page(self, owner: str, before: str | None) -> Sequence[StreamInfo]:
        while True:
            try:
                return await self._store.list(owner, None, before, _PAGE)
            except NotFound:  # the last one of the page before has expired, and so will those that follow it
                return ()
            except HeadraceError as error:
                log.warning("what is not archived yet cannot be looked for: %s", error)
                await self._clock.sleep(LONGEST_PAUSE)

    async def _has(self, info: StreamInfo) -> bool:
        if info.id in self._waiting or info.id in self._busy:
            return True
        try:
            return await self._objects.has(key_of(info))
        except ArchiveError:  # whoever may only write is refused this; to put it twice does no harm
            return False


def _pause(failures: int) -> float:
    """Seconds."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE) * (1 - _JITTER * random.random())


def key_of(info: StreamInfo) -> str:
    """The name of the stream's object: the same on every node, for ever."""
    day = datetime.fromtimestamp(info.created_ms // 1000, UTC).strftime("%Y/%m/%d")
    # Of these names a path would make something else.
    owner = info.owner if info.owner.strip(".") else info.owner.replace(".", "%2E")
    return f"{day}/{owner}/{info.id}.ndjson.gz"


async def _gzipped(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same in gzip's form, made beside the event loop."""
    packer = zlib.compressobj(wbits=_GZIP)
    async for piece in pieces:
        packed = await anyio.to_thread.run_sync(packer.compress, piece)
        if packed:
            yield packed
    yield packer.flush()
