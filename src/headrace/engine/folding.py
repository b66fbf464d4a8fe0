"""A log, as far as it goes now, folded into one value."""

from __future__ import annotations

import anyio.lowlevel

from headrace.engine.subscription import BATCH
from headrace.stores.base import StreamStore
from headrace.transforms.accumulator import Accumulator


async def folded(store: StreamStore, stream_id: str) -> Accumulator:
    """An accumulator that has had every record up to now. Raises `NotFound`."""
    accumulator = Accumulator()
    after = -1
    while accumulator.terminal is None and (records := await store.read(stream_id, after, BATCH)):
        accumulator.feed(records)
        after = records[-1].seq
        await anyio.lowlevel.checkpoint()  # a long log must not hold up everybody else's tokens
    return accumulator
