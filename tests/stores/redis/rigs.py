"""Stores on real servers, for the contract and for what is special to Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio

from headrace.config import Secret
from headrace.stores.base import StreamStore
from headrace.stores.redis import RedisStore
from tests.stores.contract import RETENTION, STREAM_LIMIT, Clock, Rig
from tests.stores.redis.servers import Server


def make(url: str, **options: Any) -> RedisStore:
    """A store with the contract's limits."""
    defaults = {"now": Clock(), "sleep": anyio.sleep, "retention": RETENTION, "max_stream_bytes": STREAM_LIMIT}
    return RedisStore(Secret(url), **(defaults | options))


@asynccontextmanager
async def running(*stores: RedisStore) -> AsyncGenerator[None]:
    """The life of stores, as the server gives it to them."""
    async with anyio.create_task_group() as tasks:
        for store in stores:
            await store.start()
            tasks.start_soon(store.run)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            for store in stores:
                await store.close()


@asynccontextmanager
async def rig_on(servers: Sequence[Server], *, nodes: int = 1) -> AsyncGenerator[Rig]:
    """An empty store; with two nodes all producers are on the first, and all readers on the second."""
    for server in servers:
        server.ask("FLUSHALL")
    clock = Clock()
    stores = [make(servers[0].url, now=clock) for _ in range(nodes)]

    async def advance(seconds: float) -> None:
        await clock.advance(seconds)
        for server in servers:
            server.age(seconds)

    async with running(*stores):
        yield Rig(stores[0] if nodes == 1 else split(*stores), advance)


class _Split:
    """Two nodes as one store."""

    def __init__(self, producers: RedisStore, readers: RedisStore) -> None:
        self._producers = producers
        self._readers = readers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producers if name in _PRODUCERS else self._readers, name)

    async def close(self) -> None:
        await self._producers.close()
        await self._readers.close()


_PRODUCERS = {"acquire", "renew", "append", "append_now", "finish", "tidy", "claim", "cancellations"}


def split(producers: RedisStore, readers: RedisStore) -> StreamStore:
    """A store that writes through one node and reads through the other."""
    return cast("StreamStore", _Split(producers, readers))
