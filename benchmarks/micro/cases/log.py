"""The log: appended to, followed by readers that write what they get as the server does, and resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat

from benchmarks.micro.cases import material
from headrace.dialects import OPENAI_CHAT
from headrace.dialects.cursor import Cursor
from headrace.engine.subscription import Subscription
from headrace.events import Chunk, Record
from headrace.stores.base import Lease
from headrace.stores.memory import MemoryStore
from headrace.transports.framing import SSE
from headrace.transports.reader import Reader, start_of

Round = Callable[[], Awaitable[int]]

_WRITE = 128 * 1024
_APPENDS = 20
_LONG = 1000
_TURNS = 100
_OPENING, TEXTS = material.log([material.ROLE], material.TEXTS)


class Stream:
    """A stream of a store of its own, written as the relay does: a record a frame, an append a read."""

    def __init__(self, store: MemoryStore, lease: Lease) -> None:
        self.length = 0
        self._store = store
        self._lease = lease

    @classmethod
    async def open(cls) -> Stream:
        """One that has begun."""
        store = MemoryStore(now=lambda: 1_750_000_000.0, max_stream_bytes=2**40, max_bytes=2**40)
        stream = cls(store, await store.acquire(material.START.id, "", b"{}", 10))
        await stream.append(_OPENING)
        return stream

    async def append(self, said: Sequence[Chunk | Record]) -> None:
        """Append what one read brought."""
        records = [Record(seq, 1_750_000_000_000, each.events, each.raw) for seq, each in enumerate(said, self.length)]
        await self._store.append(self._lease, self.length, records)
        self.length += len(records)

    def reader(self, position: int = 0, shared: dict[object, object] | None = None) -> Reader:
        """A reader in the shape of chat, as a connection has one."""
        subscription = Subscription(self._store, material.START.id, lambda: None, shared=shared)
        cursor = start_of(OPENAI_CHAT, "")
        return Reader(subscription, OPENAI_CHAT, Cursor(cursor.code, cursor.version, cursor.params, position))


async def _follow(reader: Reader) -> None:
    framing = SSE(ids="c1.")
    while frames := await reader.next():
        framing.encode(reader.view, frames, reader.position, _WRITE)
        reader.advance(frames)


async def append() -> Round:
    """An append of one record that nobody waits for."""
    return _appending(await Stream.open(), 1)


async def append_batch() -> Round:
    """A record, of 20 in one append that nobody waits for."""
    return _appending(await Stream.open(), _APPENDS)


def _appending(stream: Stream, together: int) -> Round:
    batches = [TEXTS[start : start + together] for start in range(0, len(TEXTS), together)]

    async def round_() -> int:
        before = stream.length
        for batch in batches:
            await stream.append(batch)
        return stream.length - before

    return round_


async def wake_one() -> Round:
    """An append of one record, for which one reader wakes, reads and encodes."""
    return await _waking(1, _APPENDS)


async def fan_out() -> Round:
    """One reader's reading and encoding of an append of one record, for which 100 readers wake."""
    return await _waking(100, 1)


async def _waking(readers: int, appends: int) -> Round:
    stream = await Stream.open()
    following = [stream.reader() for _ in repeat(None, readers)]
    tasks = [asyncio.create_task(_follow(reader)) for reader in following]
    last, task = following[-1], tasks[-1]

    async def round_() -> int:
        before = last.position
        for record in TEXTS[:appends]:
            await stream.append((record,))
            await _arrival(last, task, stream.length - 1)  # record 0 has no frame
        return (last.position - before) * len(tasks)

    await round_()
    return round_


async def _arrival(reader: Reader, task: asyncio.Task[None], position: int) -> None:
    """Let the loop turn until the reader is there: an event to wait for would cost time of its own."""
    for _ in range(_TURNS):
        if reader.position >= position:
            return
        await asyncio.sleep(0)
    if task.done():
        task.result()  # raises what the reader failed of
    raise TimeoutError("the readers do not read")


async def resume() -> Round:
    """A reader that comes with a position in the middle of 1,000 records, until its first bytes."""
    stream = await Stream.open()
    while stream.length < _LONG:
        await stream.append(TEXTS)
    middle = _LONG // 2

    async def round_() -> int:
        reader = stream.reader(middle)
        await reader.seek()
        body, _ = SSE(ids="c1.").encode(reader.view, await reader.next(), reader.position, 1)
        return int(body.startswith(b"id: c1.%d\n" % (middle + 1)))

    return round_


CASES = {
    "append": append,
    "append-batch": append_batch,
    "wake-one": wake_one,
    "fan-out-100": fan_out,
    "resume": resume,
}
