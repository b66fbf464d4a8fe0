"""A log, as far as it goes now, folded into one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import anyio.lowlevel

from headrace.engine.subscription import BATCH
from headrace.events import Record
from headrace.stores.base import StreamStore
from headrace.transforms.accumulator import Accumulator
from headrace.transforms.seam import Draft


class _Fold(Protocol):
    def feed(self, records: Sequence[Record]) -> None: ...


F = TypeVar("F", bound=_Fold)


async def folded(store: StreamStore, stream_id: str) -> Accumulator:
    """An accumulator that has had every record up to now. Raises `NotFound`."""
    return await _folded(store, stream_id, Accumulator())


async def drafted(store: StreamStore, stream_id: str) -> Draft:
    """The same of an answer that may go on."""
    return await _folded(store, stream_id, Draft())


async def _folded(store: StreamStore, stream_id: str, fold: F) -> F:
    after, ended = -1, False
    while not ended and (records := await store.read(stream_id, after, BATCH)):
        fold.feed(records)
        after, ended = records[-1].seq, records[-1].terminal is not None
        await anyio.lowlevel.checkpoint()  # a long log must not hold up everybody else's tokens
    return fold
