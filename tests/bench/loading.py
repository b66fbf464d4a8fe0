"""Runs against servers of the test's own event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from headrace.bench.measurement import Measurement
from headrace.bench.plan import Load, Plan, Series
from headrace.bench.prompts import RandomPrompts
from headrace.bench.run import Run
from headrace.bench.shapes import SHAPES
from headrace.bench.shapes.base import Ask, Shape
from headrace.bench.target import parse_target


def unwatched(_number: int, _measurement: Measurement, _seconds: float) -> None:
    pass


def plan_for(
    url: str,
    load: Load,
    *,
    shape: Shape = SHAPES["openai.chat"],
    models: Sequence[str] = ("m",),
    levels: Sequence[int | None] = (4,),
    headers: dict[str, str] | None = None,
    goodput: dict[str, float] | None = None,
    whole: bool = False,
    **ask: Any,
) -> Plan:
    target = parse_target(url, shape.endpoint, whole=whole)
    series = [Series(target, Ask(model, **ask), headers or {}, level) for model in models for level in levels]
    return Plan(shape, series, load, lambda number: RandomPrompts(5, f"0.{number}"), goodput or {})


async def ran(url: str, load: Load | None = None, **options: Any) -> Run:
    """A run to its end."""
    run = Run(plan_for(url, load or Load(num_prompts=8, timeout=20), **options), unwatched)
    with anyio.fail_after(40):
        await run.go()
    return run


async def measured(url: str, load: Load | None = None, **options: Any) -> Measurement:
    """What the only series of a run has shown."""
    (measurement,) = (await ran(url, load, **options)).measurements
    return measurement
