"""What a log amounts to: its size, and the answer as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.micro.cases import material
from headrace.events import Record
from headrace.stores.weight import weigh
from headrace.transforms.accumulator import Accumulator


def weigh_text() -> Callable[[], int]:
    """A record with a piece of text, of 100 weighed at once."""
    return _weighing(material.log([material.ROLE], material.TEXTS)[1])


def weigh_unknown() -> Callable[[], int]:
    """A record that kept its JSON, of 100 weighed at once."""
    return _weighing(material.log([material.ROLE], material.UNKNOWN)[1])


def _weighing(records: Sequence[Record]) -> Callable[[], int]:
    return lambda: len(records) if weigh(records) else 0


def accumulate() -> Callable[[], int]:
    """A record's part of an answer of 100, the answer included."""
    opening, texts = material.log([material.ROLE], material.TEXTS)
    records = opening + texts

    def round_() -> int:
        accumulator = Accumulator()
        accumulator.feed(records)
        return len(records) if accumulator.answer().text else 0

    return round_


CASES = {"weigh-text": weigh_text, "weigh-unknown": weigh_unknown, "accumulate": accumulate}
