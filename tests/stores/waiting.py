"""A store in memory that does nothing at once, as one that is reached over a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.events import Record
from headrace.stores.base import Follower, Lease
from headrace.stores.memory import MemoryStore


class WaitingStore(MemoryStore):
    """What happens at once in `MemoryStore` has to be awaited here."""

    def append_now(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> bool:
        return False

    def follow(self, stream_id: str, after: int, follower: Follower) -> Callable[[], None] | None:
        return None
