"""What the server's observers are told of every read."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from benchmarks.micro.cases import material
from headrace.engine.measurement import Measurement
from headrace.engine.observer import Observers, Source
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.stream_log import StreamLog

_BATCH = 20


def note_single() -> Callable[[], int]:
    """A chunk that comes alone in a read."""
    return _noting(1)


def note_batch() -> Callable[[], int]:
    """A chunk, of 20 in one read."""
    return _noting(_BATCH)


def _noting(together: int) -> Callable[[], int]:
    said = material.chunks(material.ROLE, *material.TEXTS)[1:]
    batches = [said[start : start + together] for start in range(0, len(said), together)]
    measurement = Measurement(Source("small", "provider"), Observers((Metrics(), StreamLog())), 0.0)
    seconds = count(0.0, 0.02)

    def round_() -> int:
        return sum([len(batch) for batch in batches if measurement.note(batch, next(seconds))])

    return round_


CASES = {"note-single": note_single, "note-batch": note_batch}
