"""What this node knows of one stream that somebody here writes or waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headrace.errors import NotFound, StoreError
from headrace.events import Record
from headrace.stores.base import Follower
from headrace.stores.redis.keys import Keys
from headrace.stores.waiters import Waiters

TAIL_BYTES = 32 * 1024
"""JSON of the newest records that are kept, some 300 tokens: who reads along does not ask the server for them."""


class _Place:
    """One follower, until it stops or fails."""

    __slots__ = ("follower", "over")

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.over = False

    def take(self, records: Sequence[Record]) -> None:
        if self.over:
            return
        try:
            self.follower.take(records)
        except Exception as problem:  # noqa: BLE001 - a reader's; whoever appends must not suffer
            self.lose(problem)

    def lose(self, problem: Exception) -> None:
        if not self.over:
            self.over = True
            self.follower.lost(problem)


class Feed:
    """The end of a log: how far it goes, its newest records, and those who want to know of the next.

    It grows by what the server acknowledged to this node's producer, or by what it told, or was asked; never otherwise
    (P28). All three may say the same, in any order, with holes.
    """

    __slots__ = (
        "_base",
        "_places",
        "_tail",
        "_tail_bytes",
        "_told",
        "_waiters",
        "cancelled",
        "ended",
        "epoch",
        "gone",
        "held_until",
        "keys",
        "next",
        "quiet",
        "ttl",
        "used",
    )

    def __init__(self, keys: Keys) -> None:
        """Nothing is known yet."""
        self.keys = keys
        self.next = 0
        """How many records the log has, as far as is known."""
        self.ended = False
        self.gone = False
        self.epoch = 0
        """Of the lease that this node holds, as far as it knows; 0 if it holds none."""
        self.ttl = 0.0
        self.held_until = 0.0
        """When the lease runs out, in Unix time: until then nobody else appends, and what is acknowledged is all."""
        self.cancelled = False
        """Whether this node's producer was told to stop."""
        self.quiet = False
        """Set by whoever looks whether anything was heard since the last look; cleared by whatever is heard."""
        self.used = True
        """The same for readers."""
        self._base = 0
        self._tail: list[Record] = []
        self._tail_bytes = 0
        self._told = 0
        self._places: list[_Place] = []
        self._waiters = Waiters()

    @property
    def wanted(self) -> bool:
        """Whether anybody waits or follows."""
        return bool(self._waiters) or bool(self._places)

    @property
    def behind(self) -> bool:
        """Whether followers wait for records that were not told: somebody must read them."""
        return bool(self._places) and self._told < self.next

    @property
    def told(self) -> int:
        """The seq of the first record that followers have not been told."""
        return self._told

    def lead(self, epoch: int, next_seq: int, ttl: float, asked_at: float) -> None:
        """This node's producer has the stream from now on, for `ttl` seconds after it asked."""
        self.ttl = ttl
        self.cancelled = False
        self.hold(epoch, asked_at)
        self.learn(next_seq, ended=False)

    def hold(self, epoch: int, asked_at: float) -> None:
        """The server has done what this node's producer asked for then, so the lease was alive."""
        self.epoch = epoch
        self.held_until = asked_at + self.ttl

    def learn(self, next_seq: int, *, ended: bool) -> None:
        """The log has so many records, or more, and has ended, or not yet."""
        self.quiet = False
        if next_seq <= self.next and ended <= self.ended:
            return
        self.next = max(self.next, next_seq)
        self.ended |= ended
        if ended:
            self.epoch = 0
        self._waiters.wake()
        self._tell()

    def add(self, records: Sequence[Record], size: int) -> None:
        """These are in the log, `size` bytes of JSON."""
        first, end = records[0].seq, records[-1].seq + 1
        tail_end = self._base + len(self._tail)
        if first > tail_end or size > TAIL_BYTES:
            self._base, self._tail, self._tail_bytes = first, list(records), size
        elif end > tail_end:
            self._tail += records[tail_end - first :]
            self._tail_bytes += size
        if self._tail_bytes > TAIL_BYTES and len(self._tail) > len(records):
            half = min(len(self._tail) // 2, len(self._tail) - len(records))
            del self._tail[:half]
            self._base += half
            self._tail_bytes //= 2
        self.learn(end, ended=records[-1].terminal is not None)

    def newest(self, start: int, limit: int, now: float) -> Sequence[Record] | None:
        """Records from `start` on, if they are known here, and it is known that there are no more."""
        if self.epoch and now < self.held_until and self._base <= start and self._base + len(self._tail) >= self.next:
            return self._tail[start - self._base : start - self._base + limit]
        return None

    async def wait(self, after: int) -> None:
        """Return once there is a record after `after`, or the end. Raises `NotFound` when the stream is removed."""
        self.used = True
        while self.next <= after + 1 and not self.ended:
            if self.gone:
                raise not_found(self.keys.id)
            await self._waiters.wait()
        if self.gone:
            raise not_found(self.keys.id)

    def follow(self, after: int, follower: Follower) -> Callable[[], None] | None:
        """See `StreamStore.follow`."""
        if self.gone or self.ended or self.next != after + 1 or (self._places and self._told != self.next):
            return None
        self._told = self.next
        place = _Place(follower)
        self._places.append(place)

        def stop() -> None:
            place.over = True
            self.used = True
            if place in self._places:
                self._places.remove(place)

        return stop

    def fill(self, records: Sequence[Record]) -> None:
        """These are in the log from `told` on: followers get them, and then what is known already of those after."""
        if records[0].seq <= self._told <= records[-1].seq:
            self._hand_out(records[self._told - records[0].seq :])
        self.learn(records[-1].seq + 1, ended=records[-1].terminal is not None)
        self._tell()

    def _tell(self) -> None:
        if self._places and self._base <= self._told < self._base + len(self._tail):
            self._hand_out(self._tail[self._told - self._base :])

    def _hand_out(self, records: Sequence[Record]) -> None:
        self._told = records[-1].seq + 1
        places = tuple(self._places)
        if len(places) == 1:
            places[0].take(records)
            return
        for place in places:  # each of them takes its time, and others have theirs in between
            asyncio.get_running_loop().call_soon(place.take, records)

    def remove(self) -> None:
        """The stream was deleted, or has expired."""
        self.gone = True
        self.epoch = 0
        self._waiters.wake()
        self._lose(not_found(self.keys.id))

    def give_up(self, problem: StoreError) -> None:
        """Nobody shall wait any longer for what comes next."""
        self._waiters.fail(problem)
        self._lose(problem)

    def _lose(self, problem: Exception) -> None:
        for place in tuple(self._places):
            place.lose(problem)
        self._places.clear()

    def since(self, seq: int) -> Sequence[Record] | None:
        """What this node's producer has appended from `seq` on, if that is known still."""
        return self._tail[seq - self._base :] if self._base <= seq else None


def not_found(stream_id: str) -> NotFound:
    """There is none, or none any more."""
    return NotFound(f"There is no stream {stream_id}.")
