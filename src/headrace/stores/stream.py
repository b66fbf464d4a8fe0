"""One log in memory, with its lease and those who follow it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headrace.bodies import Body
from headrace.events import Record
from headrace.stores.archive import Archive
from headrace.stores.base import Follower, StreamInfo, StreamState
from headrace.stores.waiters import Waiters

# Bytes that an empty stream takes with its places in the indexes, measured with tracemalloc.
_STREAM = 512


class Place:
    """How far one follower has been told."""

    __slots__ = ("_log", "_told", "follower", "over", "waits")

    def __init__(self, log: list[Record], follower: Follower) -> None:
        """At the end of the log as it is now."""
        self.follower = follower
        self.over = False
        self.waits = False
        self._log = log
        self._told = len(log)

    def tell(self) -> None:
        """Tell what has not been told."""
        self.waits = False
        records = self._log[self._told :]
        if records:
            self.take(records)

    def take(self, records: Sequence[Record]) -> None:
        """Tell these, which are the next."""
        if self.over:
            return
        self._told += len(records)
        try:
            self.follower.take(records)
        except Exception as problem:  # noqa: BLE001 - a reader's; whoever appends must not suffer
            self.lose(problem)

    def lose(self, problem: Exception) -> None:
        """Tell that there will be no more, whatever has not been told."""
        if not self.over:
            self.over = True
            self.follower.lost(problem)


class Stream:
    """One log with its lease and its readers."""

    __slots__ = (
        "archive",
        "bytes",
        "cancel",
        "created_ms",
        "ended_at",
        "epoch",
        "followers",
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
        """It is empty and its lease is not held yet."""
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
        self.archive: Archive | None = None  # instead of the records and the request, some time after the end
        self.bytes = 0
        self.readers = Waiters()
        self.followers: list[Place] = []
        self.cancel: str | None = None  # who asks for its end
        self.removed = False

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Tell it what is appended from now on, until the returned function is called."""
        place = Place(self.records, follower)
        self.followers.append(place)

        def stop() -> None:
            place.over = True
            if place in self.followers:
                self.followers.remove(place)

        return stop

    def tell(self, records: Sequence[Record]) -> None:
        """Let everybody know that these were appended."""
        if self.readers:
            self.readers.wake()
        places = self.followers
        if len(places) == 1 and not places[0].waits:
            places[0].take(records)
            return
        for place in places:  # each of them takes its time, and others have theirs in between
            if not place.waits:
                place.waits = True
                asyncio.get_running_loop().call_soon(place.tell)

    @property
    def cost(self) -> int:
        """What the stream takes of the store's bytes: the log, the request, itself."""
        request = len(self.request) if self.archive is None else self.archive.request_bytes
        return _STREAM + request + self.bytes

    def info(self) -> StreamInfo:
        """What `status` and `list` say."""
        return StreamInfo(
            id=self.id,
            owner=self.owner,
            state=self.state,
            next_seq=len(self.records if self.archive is None else self.archive),
            created_ms=self.created_ms,
            ended_ms=None if self.ended_at is None else int(self.ended_at * 1000),
            bytes=self.bytes,
        )
