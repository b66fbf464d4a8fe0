"""The log's protocol: what every store must do, and nothing about how.

One producer appends under a lease, any number of readers read by `seq`. tests/stores/contract.py holds the tests that
every implementation passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from headrace.bodies import Body
from headrace.errors import StoreError
from headrace.events import Cancelled, Failed, Record, Terminal

StreamState = Literal["running", "finished", "failed", "cancelled"]


class Lease(msgspec.Struct, frozen=True):
    """The right to append: valid for one epoch; a newer epoch fences it."""

    id: str
    epoch: int
    next_seq: int
    """The seq that the first append under this lease must have."""
    cancel: str | None = None
    """Who asked for the stream's end before this producer had it, if anybody did: see `StreamStore.request_cancel`."""


class StreamInfo(msgspec.Struct, frozen=True):
    """What a store knows of a stream without reading its log."""

    id: str
    owner: str
    state: StreamState
    next_seq: int
    """Number of records so far."""
    created_ms: int
    ended_ms: int | None
    bytes: int
    """Size of the log as the store accounts for it."""


class Follower(Protocol):
    """Somebody who is told of a log's growth in the turn of the event loop in which it grows."""

    def take(self, records: Sequence[Record]) -> None:
        """These follow those before, without a gap; they are in the store. What it raises it is told as `lost`."""
        ...

    def lost(self, problem: Exception) -> None:
        """There will be no more: the stream was removed, the store stays away, or `take` has failed."""
        ...


class StreamStore(Protocol):
    """An append-only log per stream.

    Every method raises `NotFound` for a stream that is unknown, deleted or expired, unless it says otherwise, and
    `StoreError` when the store itself cannot answer: `StoreUnavailable` where that may pass.
    """

    @property
    def problem(self) -> StoreError | None:
        """What keeps all of the store from working now, as far as is known; a new error each time. None if nothing."""
        ...

    def serves(self, stream_id: str) -> bool:
        """Whether a stream of this id can be made, as far as is known: part of a store may be away."""
        ...

    async def recovered(self, stream_id: str) -> None:
        """For those whom it has told that it is unavailable: return when it can be asked for this stream again.

        Raises:
            StoreUnavailable: it has been away for too long.
        """
        ...

    async def start(self) -> None:
        """Reach what the store needs, before anything is asked of it.

        Raises:
            ConfigError: it cannot be reached, or not so; the message says what to change.
        """
        ...

    async def run(self) -> None:
        """What the store does by itself, for as long as streams are written or read; a task of the engine's.

        Returns where there is nothing to do, never raises, and is cancelled at the end.
        """
        ...

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        """Create the stream, or take it over from a producer whose lease has run out.

        `request` is kept with the stream, without credentials. `ttl` is in seconds and is renewed by every append.

        Raises:
            LeaseHeld: another producer's lease is alive.
            Overloaded: no room for another stream.
        """
        ...

    async def renew(self, lease: Lease, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds. Raises `Fenced` when it was lost."""
        ...

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        """Append records with consecutive seqs; when this returns, any reader may see them, and not before (P28).

        Sending the same seqs again is a no-op.

        Raises:
            Fenced: the lease is from an older epoch, or the stream has ended.
            SequenceGap: `first_seq` is beyond the end of the log.
            LogFull: the stream's log has reached its limit; a terminal record still fits.
        """
        ...

    def append_now(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> bool:
        """The same without waiting, where the store can do that; False, and nothing done, where it cannot.

        Raises what `append` raises.
        """
        ...

    async def finish(self, lease: Lease, record: Record) -> None:
        """Append the terminal record and close the log, in one step (P3). A second call is a no-op."""
        ...

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        """Records with `seq > after` in order, at most `limit`; empty when there are none yet. `-1` reads from 0."""
        ...

    async def wait(self, stream_id: str, after: int) -> None:
        """Return once the log has a record with `seq > after`, or has ended. At once when that is so already.

        While the store is away it waits on; `StoreUnavailable` says that this takes too long.
        """
        ...

    def follow(self, stream_id: str, after: int, follower: Follower) -> Callable[[], None] | None:
        """Tell `follower` of all records after `after` as they are appended, until the returned function is called.

        None, and nothing is done, where the log has records after `after` already, has ended or is gone, or where the
        store cannot tell without waiting: then `read` and `wait`.
        """
        ...

    async def status(self, stream_id: str) -> StreamInfo:
        """What is known of the stream."""
        ...

    async def request(self, stream_id: str) -> Body:
        """The request that was given to `acquire`."""
        ...

    async def list(self, owner: str, state: StreamState | None, before: str | None, limit: int) -> Sequence[StreamInfo]:
        """The owner's streams, newest first; `before` is the id that the last page ended with."""
        ...

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        """At most `limit` running streams whose lease has run out; `acquire` says who of those who ask gets one.

        Cheap where there is none: every node asks all the time. Calling it again brings those beyond the limit, once
        the first have ended or have a producer. Of a part of the store that was away, none comes before its producers
        have had a lease's time to renew theirs.
        """
        ...

    async def delete(self, stream_id: str) -> None:
        """Remove the stream with its log; readers that wait wake up to `NotFound`."""
        ...

    async def claim(self, name: str, value: str, ttl: float) -> str:
        """Set `name` if it is free and return the value that holds: ours, or the earlier one. `ttl` in seconds."""
        ...

    async def claimed(self, name: str) -> str | None:
        """The value that holds `name`; None when it is free. Changes nothing."""
        ...

    async def extend(self, name: str, value: str, ttl: float) -> None:
        """Keep a claim for `ttl` seconds from now; nothing happens when another value holds it."""
        ...

    async def release(self, name: str, value: str) -> None:
        """Free a claim; nothing happens when another value holds it."""
        ...

    async def request_cancel(self, stream_id: str, by: str) -> None:
        """Ask the producer, on whatever node, to stop. Idempotent."""
        ...

    def cancellations(self) -> AsyncIterator[tuple[str, str]]:
        """Cancel requests as `(stream id, by)`, for every producer of this node; never ends by itself."""
        ...

    async def tidy(self) -> bool:
        """Do a small piece of what can wait, a few milliseconds of it; nothing that anybody can ask changes.

        Returns:
            Whether there is more to do at once. Otherwise it is asked again after a while.
        """
        ...

    async def close(self) -> None:
        """Free what the store holds."""
        ...


def state_after(terminal: Terminal) -> StreamState:
    """The state of a stream that has ended so."""
    if isinstance(terminal, Failed):
        return "failed"
    return "cancelled" if isinstance(terminal, Cancelled) else "finished"
