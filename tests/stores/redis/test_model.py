"""Any history of two nodes, step by step against the store in memory: the same answers, the same refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import HeadraceError
from headrace.events import Cancelled, Failed, Finished
from headrace.stores.base import Lease, StreamInfo, StreamStore
from headrace.stores.memory import MemoryStore
from tests.stores.contract import EVERYTHING, RETENTION, STREAM_LIMIT, TTL, Clock, Rig, end_of_stream, tokens
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import Server

STREAMS = st.sampled_from(["a", "b", "c"])
OWNERS = st.sampled_from(["ann", "ann", "ann", "bob"])
NAMES = st.sampled_from(["key", "other"])
VALUES = st.sampled_from(["one", "two"])
NODES = st.integers(0, 1)
# No sum of these is less than 2 s under a lease's or a claim's time, or the retention: a real server's time passes too.
SECONDS = st.sampled_from([4.0, 4.0, 1234.5])
TERMINALS = st.sampled_from([Finished("stop"), Failed("upstream_timeout", "Late."), Cancelled("client")])

STEPS = st.one_of(
    st.tuples(st.just("acquire"), STREAMS, OWNERS),
    st.tuples(st.just("append"), STREAMS, st.integers(-5, 2), st.integers(0, 6), st.booleans()),
    st.tuples(st.just("finish"), STREAMS, st.integers(0, 1), TERMINALS),
    st.tuples(st.just("renew"), STREAMS),
    st.tuples(st.just("read"), STREAMS, st.integers(-1, 20), st.integers(0, 9)),
    st.tuples(st.just("status"), STREAMS),
    st.tuples(st.just("request"), STREAMS),
    st.tuples(st.just("list"), OWNERS, st.sampled_from([None, "running", "finished"])),
    st.tuples(st.just("claim"), NAMES, VALUES),
    st.tuples(st.just("claimed"), NAMES),
    st.tuples(st.just("extend"), NAMES, VALUES),
    st.tuples(st.just("release"), NAMES, VALUES),
    st.tuples(st.just("request_cancel"), STREAMS),
    st.tuples(st.just("delete"), STREAMS),
    st.tuples(st.just("tidy")),
    st.tuples(st.just("advance"), SECONDS),
)

histories = count()


class Side:
    """One of the two that are compared; `leases` are those that were given out, the newest last."""

    def __init__(self, mark: str, *nodes: StreamStore) -> None:
        self.mark = mark
        self.nodes = nodes
        self.leases: dict[str, list[Lease]] = {}
        self.producers: dict[str, StreamStore] = {}

    async def outcome(self, node: int, step: tuple[Any, ...]) -> object:
        """What comes of a step, in a form that can be compared."""
        try:
            return _plain(self.mark, await self.take(self.nodes[node % len(self.nodes)], *step))
        except HeadraceError as error:
            return type(error)

    async def take(self, store: StreamStore, kind: str, *arguments: Any) -> object:
        if kind in ("claim", "claimed", "extend", "release"):
            name, *rest = arguments
            ttl = [TTL] if kind in ("claim", "extend") else []
            return await getattr(store, kind)(self.mark + name, *rest, *ttl)
        if kind == "list":
            return await store.list(self.mark + arguments[0], arguments[1], None, EVERYTHING)
        if kind == "tidy":
            while await store.tidy():
                pass
            return None
        return await self.stream(store, kind, self.mark + arguments[0], *arguments[1:])

    async def stream(self, store: StreamStore, kind: str, stream_id: str, *arguments: Any) -> object:
        if kind == "acquire":
            lease = await store.acquire(stream_id, self.mark + arguments[0], b"{}", TTL)
            self.leases.setdefault(stream_id, []).append(lease)
            self.producers[stream_id] = store
            return lease.next_seq
        if kind in ("append", "finish", "renew"):
            return await self.produce(store, kind, stream_id, *arguments)
        if kind == "delete":  # the producing node hears of another's later
            return await self.producers.get(stream_id, store).delete(stream_id)
        if kind == "request_cancel":
            return await store.request_cancel(stream_id, "client")
        return await getattr(store, kind)(stream_id, *arguments)

    async def produce(self, store: StreamStore, kind: str, stream_id: str, *arguments: Any) -> object:
        leases = self.leases.get(stream_id)
        if not leases:
            return None
        if kind == "renew":
            return await store.renew(leases[-1], TTL)
        size = (await store.status(stream_id)).next_seq
        if kind == "finish":
            return await store.finish(leases[-1], end_of_stream(size + arguments[0], arguments[1]))
        shift, number, old = arguments
        first = max(size + shift, 0)
        return await store.append(leases[0 if old else -1], first, tokens(first, first + number))


def _plain(mark: str, value: object) -> object:
    if isinstance(value, StreamInfo):
        return (value.id.removeprefix(mark), value.state, value.next_seq, value.created_ms, value.ended_ms)
    if isinstance(value, list | tuple):
        return [_plain(mark, each) for each in value]
    return value


@pytest.fixture
async def sides(anyio_backend: str, valkey: Server) -> AsyncIterator[tuple[Rig, Callable[[], tuple[Side, Side]]]]:
    clock = Clock()
    memory = MemoryStore(now=clock, retention=RETENTION, max_stream_bytes=STREAM_LIMIT)
    nodes = [make(valkey.url, now=clock) for _ in range(2)]

    async def advance(seconds: float) -> None:
        await clock.advance(seconds)
        valkey.age(seconds)

    def begin() -> tuple[Side, Side]:
        mark = f"{next(histories)}."
        return Side(mark, memory), Side(mark, *nodes)

    async with running(*nodes):
        yield Rig(memory, advance), begin


@pytest.mark.promise("P3", "P10", "P28", "P32")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(steps=st.lists(st.tuples(NODES, STEPS), max_size=40))
@pytest.mark.anyio
async def test_any_history_of_two_nodes_is_that_of_the_store_in_memory(
    sides: tuple[Rig, Callable[[], tuple[Side, Side]]], steps: list[tuple[int, tuple[Any, ...]]]
) -> None:
    rig, begin = sides
    model, real = begin()
    with anyio.fail_after(30):
        for node, step in steps:
            if step[0] == "advance":
                await rig.advance(step[1])
                continue
            outcomes: list[Awaitable[object]] = [side.outcome(node, step) for side in (model, real)]
            expected, actual = [await outcome for outcome in outcomes]
            assert actual == expected, step
