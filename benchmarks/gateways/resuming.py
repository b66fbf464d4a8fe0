"""Resuming: an answer that was read before, read on from one of its events."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from benchmarks.gateways.figures import Measured, quantiles
from benchmarks.gateways.meters import Reading, between
from benchmarks.gateways.transcript import Record, body_of

_LOCATION: Final = re.compile(rb"^location: *(\S+)", re.MULTILINE | re.IGNORECASE)
_ID: Final = re.compile(rb"^id: *(\S+)$", re.MULTILINE)
_SEED: Final = 1


def location(record: Record) -> str:
    """The path of the stream that an answer is, from its headers."""
    found = _LOCATION.search(b"".join(record.reads))
    if found is None:
        raise ValueError("the answer says no Location")
    return found[1].decode()


class Original:
    """The uninterrupted answer."""

    def __init__(self, record: Record) -> None:
        self.path = location(record)
        body = body_of(record)
        self._data = _data(body)
        self._ids = [found.decode() for found in _ID.findall(body)]
        if len(self._ids) < len(self._data) - 1:  # [DONE] has none
            raise ValueError("not every event has an id")
        self._draw = random.Random(_SEED)
        self._drawn: list[int] = []

    def somewhere(self) -> str:
        """The id of one of its events, but not of the last ones: something must be left."""
        place = self._draw.randrange(len(self._ids) - 4)
        self._drawn.append(place)
        return self._ids[place]

    def wrong(self, records: Sequence[Record]) -> list[str]:
        """What is wrong with answers that were read on from the drawn places, in any order."""
        expected = sorted(self._data[place + 1 :] for place in self._drawn)
        got = sorted(_data(body_of(record)) for record in records)
        return [] if got == expected else ["a resumed answer is not the rest of the original one"]


def _data(body: bytes) -> list[bytes]:
    """What the events say, without ids and heartbeats."""
    return [line for line in body.split(b"\n") if line.startswith(b"data:")]


def resumed(original: Original, records: Sequence[Record], begun: Reading, ended: Reading) -> Measured:
    """The time to the first byte; an event is a resumed answer here."""
    used = between(begun, ended)
    waits = [(each.times[0] - each.asked) / 1e6 for each in records if begun.at_ns <= each.asked < ended.at_ns]
    result = Measured(original.wrong(records), len(waits), used, len(waits) / used.wall_s)
    if waits:
        result.cpu_us = used.server_s / len(waits) * 1e6
        result.figures = quantiles("first_byte", waits)
    return result
