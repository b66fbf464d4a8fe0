"""When requests begin: arrival times of an open load, and when the places of a closed one open."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final, Literal

Ramp = Literal["linear", "exponential"]

# Where an exponential ramp begins, as a part of the full rate: it cannot begin at zero.
_FIRST_PART: Final = 0.01


def arrival_times(
    rate: float, burstiness: float, seed: int, ramp_up: float = 0.0, strategy: Ramp = "linear"
) -> Iterator[float]:
    """Seconds from the start, without end; all zero for an infinite rate.

    The intervals are drawn from a gamma distribution with the shape `burstiness`: 1 is a Poisson process, less comes in
    bursts, more is more even, infinity is a clock. During `ramp_up` seconds the rate grows from zero (`linear`) or from
    a hundredth (`exponential`); the times of a steady process are then stretched by the inverse of the integral of the
    rate, which keeps its burstiness.
    """
    draw = random.Random(f"{seed}/arrivals")
    steady = 0.0  # in requests: the time of a process with the rate 1
    while True:
        if rate == math.inf:
            yield 0.0
            continue
        steady += 1.0 if burstiness == math.inf else draw.gammavariate(burstiness, 1 / burstiness)
        yield _when(steady, rate, ramp_up, strategy)


def _when(requests: float, rate: float, ramp_up: float, strategy: Ramp) -> float:
    """The time until which so many requests are expected."""
    if not ramp_up:
        return requests / rate
    if strategy == "linear":
        in_ramp = rate * ramp_up / 2
        if requests < in_ramp:
            return math.sqrt(2 * ramp_up * requests / rate)
    else:
        growth = math.log(1 / _FIRST_PART)
        first = rate * _FIRST_PART
        in_ramp = (rate - first) * ramp_up / growth
        if requests < in_ramp:
            return ramp_up / growth * math.log1p(requests * growth / (first * ramp_up))
    return ramp_up + (requests - in_ramp) / rate


def opening_times(places: int, ramp_up: float, strategy: Ramp = "linear") -> list[float]:
    """When each of so many places opens, in seconds from the start; the first at once, the last after `ramp_up`."""
    if places == 1 or not ramp_up:
        return [0.0] * places
    if strategy == "linear":
        return [ramp_up * place / (places - 1) for place in range(places)]
    return [ramp_up * math.log(place + 1) / math.log(places) for place in range(places)]
