"""Engines on several nodes of one Valkey: each lost stream is ended by one of them, each key makes one stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from headrace.config import Config
from headrace.engine.clock import FakeClock
from headrace.engine.engine import Engine, Started
from headrace.engine.idempotency import POLL
from headrace.events import Failed
from headrace.stores.redis import RedisStore
from tests.engine.rig import FAR, OPENING, OWNER, Everywhere, ScriptedProvider, Witness, order, read_all, words
from tests.engine.test_takeover import BEGUN, LEASE, leave_behind
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import Server

pytestmark = pytest.mark.anyio

COUNT = 3


class Cluster:
    """Nodes that run, and one that has died."""

    def __init__(self, server: Server) -> None:
        server.ask("FLUSHALL")
        self.server = server
        self.clock = FakeClock()
        self.dead, *self.stores = (self._store() for _ in range(COUNT + 1))
        self.provider = ScriptedProvider()
        self.witnesses = [Witness() for _ in self.stores]
        settings: dict[str, Any] = {"retries": 0, **FAR}
        self.config = Config(**settings)
        router = Everywhere(self.provider, self.config)
        self.engines = [
            Engine(self.config, store, self.clock, (witness,), router)
            for store, witness in zip(self.stores, self.witnesses, strict=True)
        ]

    def _store(self) -> RedisStore:
        return make(self.server.url, now=self.clock.wall, sleep=self.clock.sleep)

    @property
    def told(self) -> list[str]:
        return [ended.start.id for witness in self.witnesses for ended in witness.ends]

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time pass, a little after the server has answered some times: no answer must look late."""
        while not condition():
            for _ in range(20):
                await self.dead.claimed("nothing")
            self.clock.advance(POLL)


@pytest.fixture
async def cluster(anyio_backend: str, valkey: Server) -> AsyncIterator[Cluster]:
    cluster = Cluster(valkey)
    with anyio.fail_after(10):
        async with running(cluster.dead, *cluster.stores), AsyncExitStack() as stack:
            for engine in cluster.engines:
                await stack.enter_async_context(engine.running())
            yield cluster


@pytest.mark.promise("P3")
async def test_each_stream_of_a_dead_node_is_ended_and_told_by_one_of_the_others(cluster: Cluster) -> None:
    ids = [f"s{number}" for number in range(30)]
    for stream_id in ids:
        await leave_behind(cluster.dead, *BEGUN, stream_id=stream_id)
    cluster.clock.advance(LEASE + 1)
    cluster.server.age(LEASE + 1)
    await cluster.until(lambda: len(cluster.told) >= len(ids))
    assert sorted(cluster.told) == sorted(ids)
    for stream_id in ids:
        records = await cluster.dead.read(stream_id, -1, 100)
        assert [record.seq for record in records] == [0, 1, 2, 3, 4]
        terminal = records[-1].terminal
        assert isinstance(terminal, Failed) and terminal.code == "producer_lost"
    assert await cluster.dead.abandoned(10) == []


@pytest.mark.promise("P10")
async def test_fifty_parallel_requests_with_one_key_make_one_stream(cluster: Cluster) -> None:
    started: list[Started] = []

    async def ask(engine: Engine) -> None:
        started.append(await engine.start(order(cluster.provider, key="k")))

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, cluster.engines[number % COUNT])
        await cluster.until(lambda: len(started) == 50)
    assert len({each.stream_id for each in started}) == 1
    assert sum(not each.replayed for each in started) == 1
    await cluster.until(lambda: cluster.provider.asked)
    call = cluster.provider.call()
    call.say([OPENING, *words("a")])
    call.finish()
    logs = [await read_all(each.subscription) for each in started]
    assert all(log == logs[0] for log in logs)
    assert cluster.provider.asked == 1
    (info,) = await cluster.dead.list(OWNER, None, None, 10)
    assert info.state == "finished"
