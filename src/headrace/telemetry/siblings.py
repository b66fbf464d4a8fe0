"""One server's numbers where it is several workers: whichever is asked has those of all.

Each worker answers on a private unix socket, whose name is its number, with its families in msgpack. A worker that does
not answer is left out; how many did is a number too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.abc
import msgspec
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

log = logging.getLogger("headrace.telemetry")

ANSWER_S: Final = 2.0
"""How long a worker may take: a fifth of what Prometheus waits for a scrape, by default."""


class Collector(Protocol):
    """What a registry of Prometheus' client is to who reads it."""

    def collect(self) -> Iterable[Metric]:
        """Every family, as it is now."""
        ...


class _Family(msgspec.Struct, frozen=True, array_like=True):
    name: str
    help: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Family]).decode


class Siblings:
    """The workers of one server, this one among them, by their sockets in the run directory."""

    def __init__(self, directory: Path, number: int, workers: int, patience: float = ANSWER_S) -> None:
        """`number` is this worker's own, from 0; `patience` in seconds."""
        self.number = number
        self._directory = directory
        self._workers = workers
        self._patience = patience

    async def answer(self, own: Collector) -> None:
        """Tell the others our numbers; runs until it is cancelled. A successor takes the name over."""
        listener = await anyio.create_unix_listener(self._path(self.number), mode=0o600)

        async def tell(stream: anyio.abc.SocketStream) -> None:
            try:
                async with stream:
                    await stream.send(_encode(_families(own)))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                log.debug("who asked for our numbers has left")

        async with listener:
            await listener.serve(tell)

    async def collect(self, own: Collector) -> Collector:
        """Everybody's numbers, with a label that says whose each is."""
        found: dict[int, list[_Family]] = {self.number: _families(own)}

        async def ask(number: int) -> None:
            with anyio.move_on_after(self._patience):
                try:
                    found[number] = _decode(await _read(self._path(number)))
                except (OSError, anyio.BrokenResourceError, msgspec.DecodeError) as error:
                    log.debug("worker %d does not tell its numbers: %r", number, error)

        async with anyio.create_task_group() as tasks:
            for number in range(self._workers):
                if number != self.number:
                    tasks.start_soon(ask, number)
        return _Merged(found, self._workers)

    def _path(self, number: int) -> Path:
        return self._directory / f"worker-{number}.sock"


async def _read(path: Path) -> bytes:
    data = bytearray()
    async with await anyio.connect_unix(path) as stream:
        async for part in stream:
            data += part
    return bytes(data)


def _families(own: Collector) -> list[_Family]:
    return [
        _Family(
            family.name,
            family.documentation,
            family.type,
            [(sample.name, dict(sample.labels), sample.value) for sample in family.samples],
        )
        for family in own.collect()
    ]


class _Merged:
    """Families of several workers; a family must be there once, whoever has it."""

    def __init__(self, found: Mapping[int, list[_Family]], workers: int) -> None:
        self._found = found
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Every family, the samples by worker."""
        merged: dict[str, Metric] = {}
        for number in sorted(self._found):
            for family in self._found[number]:
                into = merged.setdefault(family.name, Metric(family.name, family.help, family.kind))
                for name, labels, value in family.samples:
                    into.add_sample(name, labels | {"worker": str(number)}, value)
        yield from merged.values()
        yield GaugeMetricFamily("headrace_workers", "Workers that are configured.", self._workers)
        yield GaugeMetricFamily("headrace_workers_answered", "Workers whose numbers these are.", len(self._found))
