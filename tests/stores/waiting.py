"""A store in memory that does nothing at once, as one that is reached over a network."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.events import Record
from headrace.stores.base import Lease
from headrace.stores.memory import MemoryStore


class WaitingStore(MemoryStore):
    """What happens at once in `MemoryStore` has to be awaited here."""

    def append_now(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> bool:
        return False
