"""What one Valkey carries: the appends of producers without producers, as fast as it answers them.

Streams are made by the store itself. Then their appends are sent as nodes send them: the same script, one append of a
stream in flight, many streams over each connection. There are several connections, so that Valkey finds work while
the next batch is put together. A listener on another connection takes what is told, and does not look at it.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import hiredis
import msgspec

from benchmarks.cluster.programs import Valkey, packed
from benchmarks.gateways.meters import cpu_ns
from headrace.config import Secret
from headrace.events import Record, TextDelta
from headrace.stores.base import Lease
from headrace.stores.redis import RedisStore
from headrace.stores.redis.keys import Names
from headrace.stores.redis.scripts import APPEND

_PREFIX: Final = "headrace:"
_CONNECTIONS: Final = 8
_TTL_S: Final = 600.0
_LIMIT: Final = 2**30
_WORD: Final = "token "
_WARM_S: Final = 0.5


@dataclass(frozen=True)
class Capacity:
    """Of one run."""

    events: float
    """A second."""
    share: float
    """Of a core, that Valkey used."""
    bytes_in: float
    """For each event."""
    bytes_out: float

    @property
    def per_core(self) -> float:
        """Events a second, were it to have a core for itself all the time."""
        return self.events / self.share


class _Producer:
    """Appends to some streams over one connection: to each once, and again when all are acknowledged."""

    def __init__(self, port: int, leases: Sequence[Lease], batch: int, seq: int = 0) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self._reader = hiredis.Reader()
        self._names = [Names(_PREFIX).stream(lease.id).append for lease in leases]
        self._epochs = [lease.epoch for lease in leases]
        self._batch = batch
        self._seq = seq
        self._owed = 0
        self.appended = 0

    def send(self) -> None:
        """One append to each stream."""
        seqs = range(self._seq, self._seq + self._batch)
        records = [_encode(Record(seq, 1_700_000_000_000, (TextDelta(0, _WORD),))) for seq in seqs]
        self.connection.sendall(
            b"".join(
                packed("EVALSHA", APPEND._sha, 3, *names, epoch, self._seq, _LIMIT, *records)
                for names, epoch in zip(self._names, self._epochs, strict=True)
            )
        )
        self._seq += self._batch
        self._owed = len(self._names)

    def receive(self) -> bool:
        """Take replies; whether all are there.

        Raises:
            RuntimeError: an append was refused.
        """
        self._reader.feed(self.connection.recv(1 << 20))
        while (reply := self._reader.gets()) is not False:
            if reply != self._seq:
                raise RuntimeError(f"an append was refused: {reply!r}")
            self._owed -= 1
            self.appended += self._batch
        return self._owed == 0


_encode = msgspec.json.Encoder().encode


def measure(valkey: Valkey, streams: int, batch: int, seconds: float, *, listened: bool) -> Capacity:
    """Append `batch` tokens at a time to each stream; `listened`: another node follows all of them."""
    valkey.ask("FLUSHALL", "SYNC")
    leases = asyncio.run(_acquire(valkey, streams))
    with ExitStack() as stack:
        drains = [stack.enter_context(_listener(valkey.port, leases))] if listened else []
        producers = [_Producer(valkey.port, leases[number::_CONNECTIONS], batch) for number in range(_CONNECTIONS)]
        for producer in producers:
            stack.enter_context(producer.connection)
            producer.send()
        _drive(producers, drains, _WARM_S)
        begin, cpu, count = valkey.info(), cpu_ns([valkey.pid]), _appended(producers)
        took = _drive(producers, drains, seconds)
        end, cpu, events = valkey.info(), cpu_ns([valkey.pid]) - cpu, _appended(producers) - count
    return Capacity(
        events / took,
        cpu / 1e9 / took,
        _difference(begin, end, "total_net_input_bytes") / events,
        _difference(begin, end, "total_net_output_bytes") / events,
    )


@dataclass(frozen=True)
class Footprint:
    """Bytes of Valkey's memory."""

    stream: float
    """Its request and its tokens not counted."""
    event: float
    """A token of one word."""


def footprint(valkey: Valkey, streams: int = 1000, tokens: int = 200) -> Footprint:
    """The memory of streams with one token, and with many."""
    valkey.ask("FLUSHALL", "SYNC")
    empty = _memory(valkey)
    leases = asyncio.run(_acquire(valkey, streams))
    _append(valkey.port, leases, 0, 1)
    first = _memory(valkey)
    _append(valkey.port, leases, 1, tokens)
    event = (_memory(valkey) - first) / streams / (tokens - 1)
    return Footprint((first - empty) / streams - event, event)


def _append(port: int, leases: Sequence[Lease], first: int, end: int) -> None:
    """Over a connection that is gone afterwards, and its buffers with it."""
    producer = _Producer(port, leases, 1, first)
    with producer.connection:
        for _ in range(first, end):
            producer.send()
            while not producer.receive():
                pass


def _appended(producers: Sequence[_Producer]) -> int:
    return sum(each.appended for each in producers)


def _drive(producers: Sequence[_Producer], drains: Sequence[socket.socket], seconds: float) -> float:
    """Keep all connections busy; how long it was."""
    by_socket = {producer.connection: producer for producer in producers}
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        for ready in select.select([*by_socket, *drains], [], [])[0]:
            producer = by_socket.get(ready)
            if producer is None:
                ready.recv(1 << 20)
            elif producer.receive():
                producer.send()
    return now - began


def _memory(valkey: Valkey) -> int:
    return int(valkey.info()["used_memory"])


def _difference(begin: dict[str, str], end: dict[str, str], field: str) -> float:
    return float(end[field]) - float(begin[field])


async def _acquire(valkey: Valkey, streams: int) -> list[Lease]:
    """Streams as the store makes them, and the script in the server's memory."""
    store = RedisStore(Secret(valkey.url), now=time.time, sleep=anyio.sleep)
    await store.start()
    leases = [await store.acquire(f"{number:032x}", "bench", b"{}", _TTL_S) for number in range(streams)]
    spare = await store.acquire("spare", "bench", b"{}", _TTL_S)
    await store.append(spare, 0, [Record(0, 0, (TextDelta(0, _WORD),))])
    await store.close()
    return leases


@contextmanager
def _listener(port: int, leases: Sequence[Lease]) -> Iterator[socket.socket]:
    """A connection on which all streams are told."""
    names = Names(_PREFIX)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for lease in leases:
            connection.sendall(packed("SSUBSCRIBE", names.stream(lease.id).meta))
        reader = hiredis.Reader()
        answered = 0
        while answered < len(leases):
            reader.feed(connection.recv(65536))
            while reader.gets() is not False:
                answered += 1
        yield connection
