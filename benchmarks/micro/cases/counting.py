"""What is counted and kept beside the frames: sizes, times, and the answer as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from benchmarks.micro.cases import material
from headrace.engine.measurement import Measurement
from headrace.engine.observer import Observers, Source
from headrace.events import Chunk
from headrace.stores.weight import weigh
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.stream_log import StreamLog
from headrace.transforms.accumulator import Accumulator

_BATCH = 20


def weigh_text() -> Callable[[], int]:
    """A record with a piece of text, of 100 weighed at once."""
    return _weighing(material.log([material.ROLE], material.TEXTS)[1])


def weigh_unknown() -> Callable[[], int]:
    """A record that kept its JSON, of 100 weighed at once."""
    return _weighing(material.log([material.ROLE], material.UNKNOWN)[1])


def _weighing(records: Sequence[material.Record]) -> Callable[[], int]:
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


def note_single() -> Callable[[], int]:
    """A chunk that comes alone in a read, told to the server's observers."""
    return _noting(1)


def note_batch() -> Callable[[], int]:
    """A chunk, of 20 in one read, told to the server's observers."""
    return _noting(_BATCH)


def _noting(together: int) -> Callable[[], int]:
    said: list[Chunk] = material.chunks(material.ROLE, *material.TEXTS)[1:]
    batches = [said[start : start + together] for start in range(0, len(said), together)]
    measurement = Measurement(Source("small", "provider"), Observers((Metrics(), StreamLog())), 0.0)
    seconds = count(0.0, 0.02)

    def round_() -> int:
        return sum([len(batch) for batch in batches if measurement.note(batch, next(seconds))])

    return round_


CASES = {
    "weigh-text": weigh_text,
    "weigh-unknown": weigh_unknown,
    "accumulate": accumulate,
    "note-single": note_single,
    "note-batch": note_batch,
}
