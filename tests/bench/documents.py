"""Documents as a run writes them, without a run."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from headrace.bench.measurement import Measurement
from headrace.bench.outcome import Outcome
from headrace.bench.plan import Load, Plan, Series
from headrace.bench.prompts import RandomPrompts
from headrace.bench.result import Document, Selection, document
from headrace.bench.run import Run
from headrace.bench.shapes import SHAPES
from headrace.bench.shapes.base import Ask
from headrace.bench.target import parse_target

BEGUN = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


def plan(
    *names: str, levels: Sequence[int | None] = (10,), load: Load | None = None, goodput: dict[str, float] | None = None
) -> Plan:
    shape = SHAPES["openai.chat"]
    series = [
        Series(parse_target(f"{name}=http://{name}:8000", shape.endpoint), Ask("m"), {}, level)
        for name in names or ("a",)
        for level in levels
    ]
    return Plan(shape, series, load or Load(), lambda number: RandomPrompts(5, f"0.{number}"), goodput or {})


def request(ttft: float, gap: float, chunks: int = 20) -> Outcome:
    gaps = array("d", [gap] * (chunks - 1))
    return Outcome("", "", ttft, ttft + gap * (chunks - 1), gaps, 0, chunks, 5, chunks)


def fill(
    measurement: Measurement, *, ttft: float = 0.1, gap: float = 0.01, count: int = 200, failed: int = 0, seed: int = 0
) -> None:
    """Requests whose times vary by a tenth, ten in each tenth of a second."""
    draw = random.Random(seed)
    outcomes = [request(draw.gauss(ttft, ttft / 10), draw.gauss(gap, gap / 10)) for _ in range(count)]
    outcomes += [Outcome("incomplete", "cut <here> & there") for _ in range(failed)]
    for place, outcome in enumerate(outcomes, 1):
        measurement.began()
        measurement.live.chunks += outcome.chunks
        measurement.ended(outcome, None)
        if place % 10 == 0:
            measurement.mark(0.1)
    measurement.duration = len(outcomes) / 100


def made(
    found: Plan | None = None, *, filling: Sequence[dict[str, Any]] = ({},), selection: Selection | None = None
) -> Document:
    """A document; the n-th filling is that of the n-th series, an empty one for the others."""
    found = found or plan()
    run = Run(found, lambda *_: None)
    for measurement, how in zip(run.measurements, filling, strict=False):
        fill(measurement, **how)
    return document(found, run, selection or Selection(), BEGUN)
