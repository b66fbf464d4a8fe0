"""What is to be measured, whole and checked: nothing here runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from headrace.bench.arrivals import Ramp
from headrace.bench.prompts import Prompts
from headrace.bench.shapes.base import Ask, Shape
from headrace.bench.target import Target


class Load(msgspec.Struct, frozen=True):
    """How requests come, the same for every series."""

    request_rate: float = math.inf
    burstiness: float = 1.0
    ramp_up: float = 0.0
    """Seconds until the full rate, or for an infinite rate until all places are open."""
    ramp_up_strategy: Ramp = "linear"
    num_prompts: int | None = 100
    """For each series; None: `duration` decides."""
    duration: float | None = None
    """Seconds in which requests begin; those that run then are waited for."""
    warmup: int = 0
    """Requests before, for each series, that are not counted."""
    rounds: int = 1
    """The series take turns so many times, each with its part of the requests or of the time."""
    timeout: float = 600.0
    """Seconds for one request, all in all."""
    seed: int = 0
    keep_alive: bool = True
    insecure: bool = False


class Series(msgspec.Struct, frozen=True):
    """What gets figures of its own: a model of a target, with a number of requests at the same time."""

    target: Target
    ask: Ask
    headers: Mapping[str, str]
    """Those of the caller: the key, and what else was asked for."""
    max_concurrency: int | None
    """None: no limit."""

    @property
    def model(self) -> str:
        """Empty where the shape knows none."""
        return self.ask.model


class Plan(msgspec.Struct, frozen=True):
    """Everything that a run needs."""

    shape: Shape
    series: Sequence[Series]
    load: Load
    prompts: Callable[[int], Prompts]
    """By the number of the series."""
    goodput: Mapping[str, float] = {}
    """Metric and the most seconds."""


def labels(series: Sequence[Series]) -> list[str]:
    """A short name for each: only what tells them apart."""
    columns = [
        [each.target.name for each in series],
        [each.model for each in series],
        [f"{each.max_concurrency or '∞'} at a time" for each in series],
    ]
    telling = [column for column in columns if len(set(column)) > 1] or columns[:2]
    return [" · ".join(filter(None, parts)) for parts in zip(*telling, strict=True)]
