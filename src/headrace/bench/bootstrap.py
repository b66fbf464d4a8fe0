"""How sure a difference between two samples is, without a belief about their distribution."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Final

CONFIDENCE: Final = 0.99
"""A comparison asks some ten questions at once; at 95 % every second one would cry wolf."""
_RESAMPLES: Final = 500

Statistic = Callable[[Sequence[float]], float]
"""Of values in rising order."""


def quantile(percent: float) -> Statistic:
    """The value at this percentage, between the two nearest in a straight line."""

    def of(ordered: Sequence[float]) -> float:
        place = (len(ordered) - 1) * percent / 100
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

    return of


def mean(ordered: Sequence[float]) -> float:
    """The mean."""
    return math.fsum(ordered) / len(ordered)


def differences(
    old: Sequence[float], new: Sequence[float], statistics: Sequence[Statistic], seed: int = 0
) -> list[tuple[float, float]]:
    """For each statistic the confidence interval of the new one less the old one.

    It is a moving-block bootstrap (Künsch 1989) with the percentile method. Requests that follow each other share the
    state of the server, so blocks of √n neighbours are drawn, not single values: those would look surer than they are.
    """
    draw = random.Random(seed)
    drawn: list[list[float]] = [[] for _ in statistics]
    for _ in range(_RESAMPLES):
        before, after = _resample(old, draw), _resample(new, draw)
        for results, statistic in zip(drawn, statistics, strict=True):
            results.append(statistic(after) - statistic(before))
    return [_interval(sorted(results)) for results in drawn]


def _resample(values: Sequence[float], draw: random.Random) -> list[float]:
    """As many values, in blocks from random places, sorted."""
    length = max(1, math.isqrt(len(values)))
    last = len(values) - length
    found: list[float] = []
    while len(found) < len(values):
        start = draw.randint(0, last)
        found += values[start : start + length]
    del found[len(values) :]
    found.sort()
    return found


def _interval(ordered: Sequence[float]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2 * 100
    return quantile(tail)(ordered), quantile(100 - tail)(ordered)


def share_difference(old: tuple[int, int], new: tuple[int, int]) -> tuple[float, float]:
    """The confidence interval of the difference of two shares, each as (how many, of how many).

    Newcombe's method 10 (1998), which holds where shares are zero.
    """
    (low_old, share_old, high_old), (low_new, share_new, high_new) = _wilson(*old), _wilson(*new)
    change = share_new - share_old
    return (
        change - math.hypot(share_new - low_new, high_old - share_old),
        change + math.hypot(high_new - share_new, share_old - low_old),
    )


def _wilson(count: int, of: int) -> tuple[float, float, float]:
    """The score interval of a share, and the share in its middle place."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = count / of
    centre = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return (centre - half) / scale, share, (centre + half) / scale
