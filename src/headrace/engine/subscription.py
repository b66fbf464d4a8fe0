"""One reader's cursor on one log: replay first, then live, without a seam between them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import TracebackType

import anyio.lowlevel

from headrace.errors import StoreError, StoreUnavailable
from headrace.events import Record
from headrace.stores.base import Follower, StreamStore

BATCH = 1000
"""Records a read: a lagging reader gets this many per write, and replay yields to others this often."""


class Subscription:
    """Reads the log at its own pace and holds nothing but a number; leaving it is all a reader ever does (P2)."""

    __slots__ = (
        "_behind",
        "_on_close",
        "_on_resume",
        "_store",
        "after",
        "ended",
        "on_taken",
        "shared",
        "stream_id",
        "taken",
    )

    def __init__(
        self,
        store: StreamStore,
        stream_id: str,
        on_close: Callable[[], None],
        on_resume: Callable[[], None] = lambda: None,
        shared: dict[object, object] | None = None,
    ) -> None:
        """`on_close` is called exactly once."""
        self.stream_id = stream_id
        self.shared: dict[object, object] = {} if shared is None else shared
        """What the readers of this stream on this node have in common; it goes with the last of them."""
        self.taken = 0
        """Records that were handed out and dealt with: the reader has come back for more."""
        self.on_taken: Callable[[], None] | None = None
        """Called whenever `taken` has grown, by whoever must know."""
        self._store = store
        self._on_close: Callable[[], None] | None = on_close
        self._on_resume = on_resume
        self.after = -1
        """The seq of the last record that was handed out."""
        self._behind = False
        self.ended = False
        """True once the terminal record was handed out."""

    async def next(self, limit: int = BATCH) -> Sequence[Record]:
        """The records after the last ones, waiting for at least one; empty only after the terminal record.

        Raises:
            NotFound: the stream was deleted or has expired.
            StoreUnavailable: the store is away, for too long.
            StoreError: the store has lost what was handed out, and more will not come.
        """
        woken = False
        if self._behind:
            # Neither the store nor the server has to suspend: without this a long replay would hold up everybody else.
            await anyio.lowlevel.checkpoint()
        while not self.ended:
            try:
                records = await self.available(limit)
                if records:
                    return records
                if woken:
                    await self._check_there_is_more()
                await self._store.wait(self.stream_id, self.after)
                woken = True
            except StoreUnavailable:
                await self._store.recovered(self.stream_id)
        return ()

    async def _check_there_is_more(self) -> None:
        """A server that takes over from another one may lack the log's end, and its producer may be gone too."""
        info = await self._store.status(self.stream_id)
        if info.state != "running" and info.next_seq <= self.after + 1:
            raise StoreError(f"The store has lost the end of stream {self.stream_id}.")

    async def available(self, limit: int = BATCH) -> Sequence[Record]:
        """The records after the last ones that are in the log now; never waits."""
        self._come_back()
        records = await self._store.read(self.stream_id, self.after, limit)
        self._behind = len(records) == limit
        if records:
            self.after = records[-1].seq
            self.ended = records[-1].terminal is not None
        return records

    def _come_back(self) -> None:
        taken = self.after + 1
        if taken > self.taken:
            self.taken = taken
            if self.on_taken is not None:
                self.on_taken()

    def follow(self, follower: Follower) -> Callable[[], None] | None:
        """Hand out what is appended from now on in the turn in which it is: see `StreamStore.follow`."""
        return self._store.follow(self.stream_id, self.after, follower)

    def took(self, after: int) -> None:
        """A follower has dealt with all records up to this seq."""
        self.after = after
        self.taken = after + 1
        if self.on_taken is not None:
            self.on_taken()

    def go_on(self, after: int, *, ended: bool) -> None:
        """Read on by oneself after this seq, which a follower has got; `ended` when it is the terminal record's."""
        self.after = after
        self.ended = ended

    def resumed(self) -> None:
        """Note that this reader goes on from a position, and does not begin."""
        self._on_resume()

    def close(self) -> None:
        """Leave. Idempotent."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    @contextmanager
    def handing_over(self) -> Generator[None]:
        """Close it unless the block ends well: then it belongs to whoever got it there."""
        try:
            yield
        except BaseException:  # also when the caller's own task is cancelled
            self.close()
            raise

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
