"""Readers that have caught up on one view: appended records are folded and encoded once, and written to each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from benchmarks.micro.cases.log import TEXTS, Stream
from headrace.transports.broadcast import Broadcast
from headrace.transports.framing import SSE

Round = Callable[[], Awaitable[int]]

_APPENDS = 20
_GROUP = 50


class _Client:
    """A connection whose client takes everything."""

    def __init__(self) -> None:
        self.wrote = False
        self.writes = 0

    def writer(self) -> Callable[[bytes], bool]:
        """See `Connection.writer`."""
        return self._write

    def _write(self, body: bytes) -> bool:
        self.writes += 1
        return True


async def one() -> Round:
    """An append of one record, written to one reader."""
    return await _following(1)


async def many() -> Round:
    """One reader's part of an append of one record, written to 50 readers."""
    return await _following(_GROUP)


async def _following(readers: int) -> Round:
    stream = await Stream.open()
    shared: dict[object, object] = {}
    clients = [_Client() for _ in range(readers)]
    tasks: list[asyncio.Task[None]] = []
    for client in clients:
        reader = stream.reader(shared=shared)
        reader.advance(await reader.next())
        broadcast = Broadcast.of(reader, SSE(ids="c1."))
        assert broadcast is not None
        tasks.append(asyncio.create_task(broadcast.serve(reader, cast("Any", client))))
        await asyncio.sleep(0)

    async def round_() -> int:
        before = clients[-1].writes
        for record in TEXTS[:_APPENDS]:
            await stream.append((record,))
        assert not any(task.done() for task in tasks)
        return (clients[-1].writes - before) * readers

    return round_


CASES = {"one": one, "50": many}
