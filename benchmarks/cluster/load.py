"""Streams and their readers over HTTP: connections that keep what they read, and are judged afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.cluster.measure import Figures, Meters, figures
from benchmarks.cluster.programs import Program
from benchmarks.gateways.exchange import Connection, Target
from benchmarks.gateways.resuming import location
from benchmarks.gateways.transcript import read

_RAMP_S: Final = 1.0
_SETTLE_S: Final = 1.0
_TAIL_S: Final = 0.5
"""From the end of the window to the last token, or the streams would end in it."""
_CONNECTS_AT_ONCE: Final = 50
_CONNECTS_PER_S: Final = 250
"""As many readers attach in a second, at least: streams live so much longer where there are many."""
# Consecutive multiples of this, modulo 1, are spread evenly however many there are.
_GOLDEN: Final = 0.618034
_LOOK_S: Final = 0.01
_PATH: Final = "/v1/chat/completions"


@dataclass(frozen=True)
class Load:
    """One load: who produces, who reads, and how much."""

    model: str
    gap: float
    """Between two tokens of a stream, in seconds."""
    streams: int
    readers: int = 1
    """Of each stream; where nobody reads apart, it is who asked."""
    seconds: float = 5.0
    """The window."""

    @property
    def tokens(self) -> int:
        """Of each stream: enough for the window."""
        attach = self.streams * self.readers / _CONNECTS_PER_S
        return round((_RAMP_S + attach + _SETTLE_S + self.seconds + _TAIL_S) / self.gap)


async def run(load: Load, producer: Program, reader: Program | None, meters: Meters) -> Figures:
    """Ask the producer for all streams and have them read there, or at the reader; figures of the window."""
    target = Target(producer.port, _PATH, [])
    asked: list[Connection] = []
    reading: list[Connection] = []
    async with asyncio.TaskGroup() as tasks:
        began = asyncio.get_running_loop().time()
        for number in range(load.streams):
            phase = number * _GOLDEN % 1 * load.gap  # or all their tokens would come in step
            await _until(began + _RAMP_S * number / load.streams + phase)
            connection = await target.connect()
            asked.append(connection)
            fields = f',"max_tokens":{load.tokens}'
            tasks.create_task(connection.carry(_of(target.question(fields), load.model)))
        await _begun(asked)
        if reader is not None:
            await _attach(load, asked, reading, reader, tasks)
            await _begun(reading)
        await asyncio.sleep(_SETTLE_S)
        begin = meters.read()
        await asyncio.sleep(load.seconds)
        end = meters.read()
    judged = reading or asked
    for connection in (*asked, *reading):
        connection.close()
    received = sum(len(data) for each in judged for data in each.record.reads)
    return figures(begin, end, [read(each.record, load.tokens) for each in judged], received)


def _of(question: bytes, model: str) -> bytes:
    """The question to another model, whose name is as long."""
    assert len(model) == len("mock")
    return question.replace(b'"mock"', f'"{model}"'.encode())


async def _attach(
    load: Load, asked: Sequence[Connection], reading: list[Connection], reader: Program, tasks: asyncio.TaskGroup
) -> None:
    """Readers of each stream at another node; those who asked leave, so that nobody reads at the producer."""
    there = Target(reader.port, _PATH, [])
    paths = [location(connection.record) for connection in asked]
    limit = asyncio.Semaphore(_CONNECTS_AT_ONCE)

    async def attach(path: str) -> None:
        async with limit:
            connection = await there.connect()
        reading.append(connection)
        await connection.carry(there.look(path))

    for path in paths:
        for _ in range(load.readers):
            tasks.create_task(attach(path))
    while len(reading) < len(paths) * load.readers:  # noqa: ASYNC110 - a look now and then is cheaper than an event
        await asyncio.sleep(_LOOK_S)
    for connection in asked:
        connection.close()


async def _begun(connections: Sequence[Connection]) -> None:
    while not all(each.record.reads for each in connections):  # noqa: ASYNC110 - likewise
        await asyncio.sleep(_LOOK_S)


async def _until(due: float) -> None:
    wait = due - asyncio.get_running_loop().time()
    if wait > 0:
        await asyncio.sleep(wait)
