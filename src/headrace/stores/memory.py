"""The log in this process: the default store, and the model of what every store does.

Nothing here does I/O. While a stream runs, awaiting a method never suspends, except for `wait`, so what happens between
two awaits of the engine stays atomic; reading a log that is compressed lets others run. No timers: leases, claims and
retention run out by `now` at the next access. Not thread-safe; it belongs to one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from itertools import islice

from headrace.bodies import Body
from headrace.errors import Fenced, InternalError, LeaseHeld, LogFull, NotFound, Overloaded, SequenceGap, StoreError
from headrace.events import Record
from headrace.stores.archive import BLOCK_RECORDS, Archive, blocks, pieces
from headrace.stores.base import Follower, Lease, StreamInfo, StreamState, state_after
from headrace.stores.cancels import Cancels
from headrace.stores.claims import Claims
from headrace.stores.stream import Stream
from headrace.stores.weight import weigh

SETTLING = 10.0
"""Seconds after its end in which a log is left as it is: those who followed it, or come back to it, read on."""


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
    - `tidy` removes what has expired, and compresses logs and requests of streams that ended `settling` seconds ago.

    `StreamInfo.bytes` is the memory that the log takes, estimated: about 270 bytes per record of one short text, a
    twentieth of it once it is compressed.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        retention: float = 3600,
        max_stream_bytes: int = 64 * 2**20,
        max_bytes: int = 2**30,
        settling: float = SETTLING,
    ) -> None:
        """`now` is Unix time and `retention` the life after the end, in seconds; `max_bytes` counts requests too."""
        self._now = now
        self._retention = retention
        self._max_stream_bytes = max_stream_bytes
        self._max_bytes = max_bytes
        self._settling = settling
        self._streams: dict[str, Stream] = {}
        self._running: dict[str, Stream] = {}
        self._ended: OrderedDict[str, Stream] = OrderedDict()  # oldest end first
        self._owned: dict[str, dict[str, Stream]] = {}  # by owner, oldest first
        self._plain: OrderedDict[str, Stream] = OrderedDict()  # ended and not yet compressed, oldest end first
        self._packing: Generator[None] | None = None
        self._claims = Claims()
        self._cancels = Cancels()
        self._bytes = 0
        self._ended_bytes = 0
        self._last_epoch = 0  # of all removed streams: a lease never fits a later stream of the same id

    @property
    def problem(self) -> StoreError | None:
        """It is always there."""
        return None

    def serves(self, stream_id: str) -> bool:
        """Always."""
        return True

    async def recovered(self, stream_id: str) -> None:
        """It was never away."""

    async def start(self) -> None:
        """There is nothing to reach."""

    async def run(self) -> None:
        """Nothing happens by itself here."""

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
        return Lease(stream_id, stream.epoch, len(stream.records), stream.cancel)

    async def renew(self, lease: Lease, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds."""
        stream = self._leased(lease)
        if stream.ended_at is not None:
            raise Fenced(f"Stream {lease.id} has ended.")
        stream.ttl = ttl
        stream.leased_until = self._now() + ttl

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        """Append what the log does not have yet; one wake-up for the whole batch."""
        MemoryStore.append_now(self, lease, first_seq, records)

    def append_now(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> bool:
        """Append at once: nothing here ever waits."""
        stream = self._streams.get(lease.id)
        if stream is None or stream.ended_at is not None or stream.epoch != lease.epoch:
            self._leased(lease)
            raise Fenced(f"Stream {lease.id} has ended.")
        stream.leased_until = self._now() + stream.ttl
        known = len(stream.records) - first_seq
        if known:
            if known < 0:
                raise SequenceGap(f"Stream {lease.id} has {len(stream.records)} records; {first_seq} cannot follow.")
            records = records[known:]
        if not records:
            return True
        size = weigh(records)
        if stream.bytes + size > self._max_stream_bytes:
            text = f"The stream has reached {self._max_stream_bytes} bytes, its limit (max_stream_log_bytes)."
            raise LogFull(text, retryable=False)
        if self._bytes + size > self._max_bytes and not self._make_room(size):
            raise LogFull(f"All streams together have reached {self._max_bytes} bytes (max_log_bytes).")
        self._extend(stream, records, size)
        stream.tell(records)
        return True

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
        stream.state = state_after(terminal)
        del self._running[stream.id]
        self._ended[stream.id] = self._plain[stream.id] = stream
        self._ended_bytes += stream.cost
        self._cancels.drop(stream.id)
        self._drop_expired()
        stream.tell((record,))

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        """Records with `seq > after` in order, at most `limit`."""
        start = max(after + 1, 0)
        stream = self._find(stream_id)
        if stream.archive is not None:
            return await stream.archive.read(start, limit)
        return stream.records[start : start + limit]

    def follow(self, stream_id: str, after: int, follower: Follower) -> Callable[[], None] | None:
        """Tell of what is appended."""
        stream = self._live(stream_id)
        if stream is None or stream.ended_at is not None or len(stream.records) != after + 1:
            return None
        return stream.follow(follower)

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
        stream = self._find(stream_id)
        return stream.request if stream.archive is None else await stream.archive.request()

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

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        """Running streams whose lease has run out."""
        now = self._now()
        found = (stream.info() for stream in self._running.values() if stream.leased_until <= now)
        return list(islice(found, limit))

    async def delete(self, stream_id: str) -> None:
        """Remove the stream, running or not; its producer's next call raises `NotFound`."""
        self._remove(self._find(stream_id))

    async def claim(self, name: str, value: str, ttl: float) -> str:
        """Set `name` if it is free and return the value that holds."""
        return self._claims.claim(name, value, self._now(), ttl)

    async def claimed(self, name: str) -> str | None:
        """The value that holds `name`, unless its time is over."""
        return self._claims.holder(name, self._now())

    async def extend(self, name: str, value: str, ttl: float) -> None:
        """Keep a claim for `ttl` seconds from now; one that has run out stays free."""
        self._claims.extend(name, value, self._now(), ttl)

    async def release(self, name: str, value: str) -> None:
        """Free a claim if it is this value's."""
        self._claims.release(name, value)

    async def request_cancel(self, stream_id: str, by: str) -> None:
        """Ask the producer to stop; the first request counts, on an ended stream none does."""
        stream = self._find(stream_id)
        if stream.ended_at is None and stream.cancel is None:
            stream.cancel = by
            self._cancels.put(stream_id, by)

    def cancellations(self) -> AsyncIterator[tuple[str, str]]:
        """Cancel requests, those from before the iteration included; `close` ends it."""
        return self._cancels

    async def tidy(self) -> bool:
        """Remove what has expired; compress one more piece of what has settled."""
        self._drop_expired()
        if self._packing is None:
            stream = next(iter(self._plain.values()), None)
            if stream is None or stream.ended_at is None or self._now() < stream.ended_at + self._settling:
                return False
            del self._plain[stream.id]
            self._packing = self._pack(stream)
        for _ in self._packing:
            return True
        self._packing = None
        return bool(self._plain)

    async def close(self) -> None:
        """Remove everything: readers that wait wake up to `NotFound`, the iteration of cancellations ends."""
        for stream in tuple(self._streams.values()):
            self._remove(stream)
        self._claims.clear()
        self._cancels.close()

    def _live(self, stream_id: str) -> Stream | None:
        """The stream, unless its retention is over."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.ended_at is not None and self._now() >= stream.ended_at + self._retention:
            self._remove(stream)
            return None
        return stream

    def _find(self, stream_id: str) -> Stream:
        stream = self._live(stream_id)
        if stream is None:
            raise _not_found(stream_id)
        return stream

    def _leased(self, lease: Lease) -> Stream:
        stream = self._streams.get(lease.id)
        if stream is None or stream.ended_at is not None:
            stream = self._find(lease.id)
        if stream.epoch != lease.epoch:
            raise Fenced(f"Another producer has taken stream {lease.id} over.")
        return stream

    def _create(self, stream_id: str, owner: str, request: Body) -> Stream:
        stream = Stream(stream_id, owner, request, self._last_epoch + 1, int(self._now() * 1000))
        if self._bytes + stream.cost > self._max_bytes and not self._make_room(stream.cost):
            text = "The logs of running streams fill the store (max_log_bytes); try again when some have ended."
            raise Overloaded(text, retry_after=1)
        self._bytes += stream.cost
        self._streams[stream_id] = self._running[stream_id] = stream
        self._owned.setdefault(owner, {})[stream_id] = stream
        return stream

    def _take_over(self, stream: Stream, owner: str) -> None:
        if stream.owner != owner:
            raise _not_found(stream.id)
        if stream.ended_at is not None:
            raise Fenced(f"Stream {stream.id} has ended.")
        left = stream.leased_until - self._now()
        if left > 0:
            raise LeaseHeld(f"Another producer holds stream {stream.id}.", retry_after=left)
        stream.epoch += 1

    def _extend(self, stream: Stream, records: Sequence[Record], size: int) -> None:
        log = stream.records
        if records[-1].seq != len(log) + len(records) - 1:  # a wrong seq in the log would break every resume (P4)
            raise SequenceGap(f"Stream {stream.id} has {len(log)} records; these have other seqs.")
        log.extend(records)
        stream.bytes += size
        self._bytes += size

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

    def _remove(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._running.pop(stream.id, None)
        owned = self._owned[stream.owner]
        del owned[stream.id]
        if not owned:
            del self._owned[stream.owner]
        self._plain.pop(stream.id, None)
        if self._ended.pop(stream.id, None) is not None:
            self._ended_bytes -= stream.cost
        self._bytes -= stream.cost
        self._last_epoch = max(self._last_epoch, stream.epoch)
        self._cancels.drop(stream.id)
        stream.removed = True
        stream.readers.wake()
        for place in tuple(stream.followers):
            place.lose(_not_found(stream.id))

    def _pack(self, stream: Stream) -> Generator[None]:
        """Replace an ended stream's log and request by an archive, in steps of a millisecond at most."""
        archive = Archive()
        for block in blocks(stream.records):
            archive.add(block)
            yield
        for piece in pieces(stream.request):
            archive.add_request(piece)
            yield
        for place in tuple(stream.followers):  # they are told from the log
            place.tell()
        before = stream.cost
        log, stream.records, stream.request = stream.records, [], b""
        stream.archive = archive
        stream.bytes = archive.bytes
        if not stream.removed:
            self._bytes += stream.cost - before
            self._ended_bytes += stream.cost - before
        while log:  # to free a hundred thousand records takes as long as to compress some blocks
            del log[-BLOCK_RECORDS:]
            yield


def _not_found(stream_id: str) -> NotFound:
    return NotFound(f"There is no stream {stream_id}.")
