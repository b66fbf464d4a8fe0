"""One measurement, in a process of its own: see the package."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import uvloop

from headrace.config import Secret
from headrace.events import Record, TextDelta
from headrace.stores.base import StreamStore
from headrace.stores.memory import MemoryStore
from headrace.stores.redis import RedisStore

_TTL = 60.0


class Follower:
    """Notes how long ago each record was handed to the store."""

    def __init__(self, delays: list[float]) -> None:
        self._delays = delays

    def take(self, records: Sequence[Record]) -> None:
        """Records, whose texts say when."""
        now = time.perf_counter()
        for record in records:
            event = record.events[0]
            assert isinstance(event, TextDelta)
            self._delays.append(now - float(event.text))

    def lost(self, problem: Exception) -> None:
        """The store is closed at the end."""


@asynccontextmanager
async def living(*stores: StreamStore) -> AsyncGenerator[None]:
    """Stores at work."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for store in stores:
            stack.push_async_callback(store.close)
            await store.start()
            tasks.start_soon(store.run)
        yield
        tasks.cancel_scope.cancel()


def made(case: str, url: str) -> tuple[StreamStore, StreamStore]:
    """The producers' store and the readers'."""
    if case == "memory":
        store = MemoryStore(now=time.time)
        return store, store
    nodes = [RedisStore(Secret(url), now=time.time, sleep=asyncio.sleep) for _ in range(2)]
    return (nodes[0], nodes[1] if case == "other" else nodes[0])


async def produce(store: StreamStore, stream_id: str, seconds: float, rate: float, offset: float) -> None:
    """One stream at its pace: a token that is late does not delay the next."""
    lease = await store.acquire(stream_id, "bench", b"{}", _TTL)
    start = time.perf_counter() + offset
    for seq in range(int(seconds * rate)):
        wait = start + seq / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        record = Record(seq, 1_700_000_000_000, (TextDelta(0, repr(time.perf_counter())),))
        if not store.append_now(lease, seq, [record]):
            await store.append(lease, seq, [record])


async def follow(store: StreamStore, stream_id: str, delays: list[float]) -> None:
    """Attach to one stream as a reader does: from its first record on."""
    while True:
        try:
            await store.wait(stream_id, -1)
        except Exception:  # noqa: BLE001 - it is not there yet
            await asyncio.sleep(0.05)
            continue
        records = await store.read(stream_id, -1, 1000)
        if store.follow(stream_id, records[-1].seq, Follower(delays)) is not None:
            return


async def measure(case: str, url: str, streams: int, rate: float, seconds: float) -> None:
    """CPU and delays of the middle of the run: the first second and the last are not counted."""
    producers, readers = made(case, url)
    delays: list[float] = []
    stores = {producers, readers}
    async with living(*stores), anyio.create_task_group() as tasks:
        for number in range(streams):
            offset = number / streams / rate
            tasks.start_soon(produce, producers, f"{case}{os.getpid()}.{number}", seconds + 2, rate, offset)
            tasks.start_soon(follow, readers, f"{case}{os.getpid()}.{number}", delays)
        await asyncio.sleep(1)
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 100, 50)
        print(json.dumps("begin"), flush=True)
        counted, cpu, begun = len(delays), time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        cpu, took = time.process_time() - cpu, time.perf_counter() - begun
        part = sorted(delays[counted:])
        print(json.dumps("end"), flush=True)
        p50, p99 = (part[math.ceil(share * len(part)) - 1] * 1e6 for share in (0.5, 0.99))
        result = {"events": len(part) / took, "cpu": cpu / len(part) * 1e6, "p50": p50, "p99": p99}
        print(json.dumps(result), flush=True)


def main() -> None:
    """Measure what the arguments say."""
    case, url, streams, rate, seconds = sys.argv[1:]
    uvloop.run(measure(case, url, int(streams), float(rate), float(seconds)))


if __name__ == "__main__":
    main()
