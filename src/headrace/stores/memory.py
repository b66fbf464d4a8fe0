"""The log in this process: the default store, and the model of what every store does.

Nothing here does I/O: except for `wait` and the iterator of cancellations, awaiting a method never suspends, so what
happens between two awaits of the engine stays atomic. No timers: leases, claims and retention run out by `now` at the
next access. Not thread-safe; it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence

from headrace.bodies import Body
from headrace.errors import Fenced, InternalError, LeaseHeld, LogFull, NotFound, Overloaded, SequenceGap
from headrace.events import Cancelled, Failed, Record, Terminal
from headrace.stores.base import Lease, StreamInfo, StreamState
from headrace.stores.weight import weigh

# Bytes that an empty stream takes with its places in the indexes, measured with tracemalloc.
_STREAM = 512

# A claim that runs out is removed by later ones: each looks at this many of the oldest, so none pays for all.
_CLAIMS_SWEPT = 32


class MemoryStore:
    """Keeps every stream of one process in memory; a process death loses them.

    Where the protocol leaves a choice:

    - A lease that ran out stays good until somebody else takes the stream over; `append` and `renew` revive it.
    - A take-over keeps the request, the creation time and the owner of the stream. Another owner's id is `NotFound`
      (P32), an ended stream `Fenced`.
    - A batch that would pass a limit is refused whole; `finish` always fits.
    - `finish` needs the next seq, otherwise it raises `SequenceGap`. After the end it is a no-op for the same epoch
      and `Fenced` for an older one.
    - `list` raises `NotFound` when `before` is not among the owner's streams (any more).
    - Cancel requests go to whoever iterates, each once; those of streams that end or vanish first are dropped.

    `StreamInfo.bytes` is the memory that the log takes, estimated: about 270 bytes per record of one short text.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        retention: float = 3600,
        max_stream_bytes: int = 64 * 2**20,
        max_bytes: int = 2**30,
    ) -> None:
        """`now` is Unix time and `retention` the life after the end, in seconds; `max_bytes` counts requests too."""
        self._now = now
        self._retention = retention
        self._max_stream_bytes = max_stream_bytes
        self._max_bytes = max_bytes
        self._streams: dict[str, _Stream] = {}
        self._ended: OrderedDict[str, _Stream] = OrderedDict()  # oldest end first
        self._owned: dict[str, dict[str, _Stream]] = {}  # by owner, oldest first
        self._claims: OrderedDict[str, tuple[str, float]] = OrderedDict()  # name to value and end
        self._cancels = _Cancels()
        self._bytes = 0
        self._ended_bytes = 0
        self._last_epoch = 0  # of all removed streams: a lease never fits a later stream of the same id

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        """Create the stream, or take it over from a producer whose lease has run out."""
        self._drop_expired()
        stream = self._live(stream_id)
        if stream is None:
            stream = self._create(stream_id, owner, request)
        else:
            self._take_over(stream, owner)
        stream.ttl = ttl
        stream.leased_until = self._now() + ttl
        return Lease(stream_id, stream.epoch, len(stream.records))

    async def renew(self, lease: Lease, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds."""
        stream = self._leased(lease)
        if stream.ended_at is not None:
            raise Fenced(f"Stream {lease.id} has ended.")
        stream.ttl = ttl
        stream.leased_until = self._now() + ttl

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        """Append what the log does not have yet; one wake-up for the whole batch."""
        stream = self._leased(lease)
        if stream.ended_at is not None:
            raise Fenced(f"Stream {lease.id} has ended.")
        known = len(stream.records) - first_seq
        if known < 0:
            raise SequenceGap(f"Stream {lease.id} has {len(stream.records)} records; {first_seq} cannot follow.")
        if known:
            records = records[known:]
        if records:
            size = weigh(records)
            if stream.bytes + size > self._max_stream_bytes:
                text = f"The stream has reached {self._max_stream_bytes} bytes, its limit (max_stream_log_bytes)."
                raise LogFull(text, retryable=False)
            if self._bytes + size > self._max_bytes and not self._make_room(size):
                raise LogFull(f"All streams together have reached {self._max_bytes} bytes (max_log_bytes).")
            self._extend(stream, records, size)
        stream.leased_until = self._now() + stream.ttl

    async def finish(self, lease: Lease, record: Record) -> None:
        """Append the terminal record and close the log, in one step."""
        terminal = record.terminal
        if terminal is None:
            raise InternalError("The record that ends a stream holds no terminal event.")
        stream = self._leased(lease)
        if stream.ended_at is not None:
            return
        self._extend(stream, (record,), weigh((record,)))
        self._make_room(0)
        stream.ended_at = self._now()
        stream.state = _state_after(terminal)
        self._ended[stream.id] = stream
        self._ended_bytes += stream.cost
        self._cancels.drop(stream.id)
        self._drop_expired()

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        """Records with `seq > after` in order, at most `limit`."""
        start = max(after + 1, 0)
        return self._find(stream_id).records[start : start + limit]

    async def wait(self, stream_id: str, after: int) -> None:
        """Suspend until there is something to read after `after`, or nothing will ever be."""
        stream = self._find(stream_id)
        while len(stream.records) <= after + 1 and stream.ended_at is None:
            await stream.readers.wait()
            if stream.removed:
                raise _not_found(stream_id)

    async def status(self, stream_id: str) -> StreamInfo:
        """What is known of the stream."""
        return self._find(stream_id).info()

    async def request(self, stream_id: str) -> Body:
        """The request that created the stream."""
        return self._find(stream_id).request

    async def list(self, owner: str, state: StreamState | None, before: str | None, limit: int) -> Sequence[StreamInfo]:
        """The owner's streams, newest first."""
        self._drop_expired()
        owned = self._owned.get(owner, {})
        if before is not None and before not in owned:
            raise _not_found(before)
        skipping = before is not None
        page: list[StreamInfo] = []
        for stream in reversed(owned.values()):
            if len(page) >= limit:
                break
            if skipping:
                skipping = stream.id != before
            elif state is None or stream.state == state:
                page.append(stream.info())
        return page

    async def delete(self, stream_id: str) -> None:
        """Remove the stream, running or not; its producer's next call raises `NotFound`."""
        self._remove(self._find(stream_id))

    async def claim(self, name: str, value: str, ttl: float) -> str:
        """Set `name` if it is free and return the value that holds."""
        now = self._now()
        self._sweep_claims(now)
        held = self._claims.get(name)
        if held is not None and held[1] > now:
            return held[0]
        self._claims[name] = (value, now + ttl)
        return value

    async def claimed(self, name: str) -> str | None:
        """The value that holds `name`, unless its time is over."""
        held = self._claims.get(name)
        return held[0] if held is not None and held[1] > self._now() else None

    async def extend(self, name: str, value: str, ttl: float) -> None:
        """Keep a claim for `ttl` seconds from now; one that has run out stays free."""
        now = self._now()
        held = self._claims.get(name)
        if held is not None and held[0] == value and held[1] > now:
            self._claims[name] = (value, now + ttl)

    async def release(self, name: str, value: str) -> None:
        """Free a claim if it is this value's."""
        held = self._claims.get(name)
        if held is not None and held[0] == value:
            del self._claims[name]

    async def request_cancel(self, stream_id: str, by: str) -> None:
        """Ask the producer to stop; the first request counts, on an ended stream none does."""
        stream = self._find(stream_id)
        if stream.ended_at is None and not stream.cancel_requested:
            stream.cancel_requested = True
            self._cancels.put(stream_id, by)

    def cancellations(self) -> AsyncIterator[tuple[str, str]]:
        """Cancel requests, those from before the iteration included; `close` ends it."""
        return self._cancels

    async def close(self) -> None:
        """Remove everything: readers that wait wake up to `NotFound`, the iteration of cancellations ends."""
        for stream in tuple(self._streams.values()):
            self._remove(stream)
        self._claims.clear()
        self._cancels.close()

    def _live(self, stream_id: str) -> _Stream | None:
        """The stream, unless its retention is over."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.ended_at is not None and self._now() >= stream.ended_at + self._retention:
            self._remove(stream)
            return None
        return stream

    def _find(self, stream_id: str) -> _Stream:
        stream = self._live(stream_id)
        if stream is None:
            raise _not_found(stream_id)
        return stream

    def _leased(self, lease: Lease) -> _Stream:
        stream = self._find(lease.id)
        if stream.epoch != lease.epoch:
            raise Fenced(f"Another producer has taken stream {lease.id} over.")
        return stream

    def _create(self, stream_id: str, owner: str, request: Body) -> _Stream:
        stream = _Stream(stream_id, owner, request, self._last_epoch + 1, int(self._now() * 1000))
        if self._bytes + stream.cost > self._max_bytes and not self._make_room(stream.cost):
            text = "The logs of running streams fill the store (max_log_bytes); try again when some have ended."
            raise Overloaded(text, retry_after=1)
        self._bytes += stream.cost
        self._streams[stream_id] = stream
        self._owned.setdefault(owner, {})[stream_id] = stream
        return stream

    def _take_over(self, stream: _Stream, owner: str) -> None:
        if stream.owner != owner:
            raise _not_found(stream.id)
        if stream.ended_at is not None:
            raise Fenced(f"Stream {stream.id} has ended.")
        left = stream.leased_until - self._now()
        if left > 0:
            raise LeaseHeld(f"Another producer holds stream {stream.id}.", retry_after=left)
        stream.epoch += 1

    def _extend(self, stream: _Stream, records: Sequence[Record], size: int) -> None:
        log = stream.records
        if records[-1].seq != len(log) + len(records) - 1:  # a wrong seq in the log would break every resume (P4)
            raise SequenceGap(f"Stream {stream.id} has {len(log)} records; these have other seqs.")
        log.extend(records)
        stream.bytes += size
        self._bytes += size
        if stream.readers:
            stream.readers.wake()

    def _make_room(self, size: int) -> bool:
        """Evict the oldest ended streams until `size` bytes fit; evict none when they would not fit even then."""
        if self._bytes - self._ended_bytes + size > self._max_bytes:
            return False
        while self._bytes + size > self._max_bytes:
            self._remove(next(iter(self._ended.values())))
        return True

    def _drop_expired(self) -> None:
        """Give back the memory of streams whose retention is over, whether anybody asks for them or not."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if self._live(oldest.id) is not None:
                return

    def _remove(self, stream: _Stream) -> None:
        del self._streams[stream.id]
        owned = self._owned[stream.owner]
        del owned[stream.id]
        if not owned:
            del self._owned[stream.owner]
        if self._ended.pop(stream.id, None) is not None:
            self._ended_bytes -= stream.cost
        self._bytes -= stream.cost
        self._last_epoch = max(self._last_epoch, stream.epoch)
        self._cancels.drop(stream.id)
        stream.removed = True
        stream.readers.wake()

    def _sweep_claims(self, now: float) -> None:
        """Look at the oldest claims in turn: what ran out goes, the first that still holds goes to the back."""
        for _ in range(min(_CLAIMS_SWEPT, len(self._claims))):
            name, (_, until) = next(iter(self._claims.items()))
            if until > now:
                self._claims.move_to_end(name)
                return
            del self._claims[name]


class _Waiters:
    """Tasks that wait for the same change. A dict, because 10,000 readers may leave at once."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self) -> None:
        """Suspend until the next `wake`; whatever ends the waiting, nothing of it stays behind."""
        future = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        try:
            await future
        finally:
            self._futures.pop(future, None)

    def wake(self) -> None:
        """Let all of them run at the loop's next turn."""
        for future in self._futures:
            if not future.done():  # a task that was cancelled, and has not run since
                future.set_result(None)
        self._futures.clear()


class _Stream:
    """One log with its lease and its readers."""

    __slots__ = (
        "bytes",
        "cancel_requested",
        "created_ms",
        "ended_at",
        "epoch",
        "id",
        "leased_until",
        "owner",
        "readers",
        "records",
        "removed",
        "request",
        "state",
        "ttl",
    )

    def __init__(self, stream_id: str, owner: str, request: Body, epoch: int, created_ms: int) -> None:
        self.id = stream_id
        self.owner = owner
        self.request = request
        self.epoch = epoch
        self.created_ms = created_ms
        self.ttl = 0.0
        self.leased_until = 0.0
        self.ended_at: float | None = None
        self.state: StreamState = "running"
        self.records: list[Record] = []
        self.bytes = 0
        self.readers = _Waiters()
        self.cancel_requested = False
        self.removed = False

    @property
    def cost(self) -> int:
        """What the stream takes of the store's bytes: the log, the request, itself."""
        return _STREAM + len(self.request) + self.bytes

    def info(self) -> StreamInfo:
        """What `status` and `list` say."""
        return StreamInfo(
            id=self.id,
            owner=self.owner,
            state=self.state,
            next_seq=len(self.records),
            created_ms=self.created_ms,
            ended_ms=None if self.ended_at is None else int(self.ended_at * 1000),
            bytes=self.bytes,
        )


class _Cancels:
    """Cancel requests on their way to the engine; iterating takes them out."""

    def __init__(self) -> None:
        self._pending: OrderedDict[str, str] = OrderedDict()
        self._consumers = _Waiters()
        self._closed = False

    def put(self, stream_id: str, by: str) -> None:
        self._pending[stream_id] = by
        self._consumers.wake()

    def drop(self, stream_id: str) -> None:
        self._pending.pop(stream_id, None)

    def close(self) -> None:
        self._closed = True
        self._consumers.wake()

    def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        return self

    async def __anext__(self) -> tuple[str, str]:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            await self._consumers.wait()
        return self._pending.popitem(last=False)


def _not_found(stream_id: str) -> NotFound:
    return NotFound(f"There is no stream {stream_id}.")


def _state_after(terminal: Terminal) -> StreamState:
    if isinstance(terminal, Failed):
        return "failed"
    return "cancelled" if isinstance(terminal, Cancelled) else "finished"
