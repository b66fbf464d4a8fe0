"""What a case's pairs say: the ratio, how sure it is, and whether that is a change."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Literal, NamedTuple

CONFIDENCE = 0.95
Word = Literal["slower", "faster", "same", "unclear"]


class Verdict(NamedTuple):
    """One case."""

    old: float
    """The median of one side, per event."""
    new: float
    ratio: float
    """The median of the pairs' `new / old`: what drifts between pairs is in both medians, and not in this."""
    low: float
    """The ratio is between `low` and `high`, as sure as `CONFIDENCE` where there are six pairs or more."""
    high: float
    word: Word


def judge(old: Sequence[float], new: Sequence[float], threshold: float) -> Verdict:
    """Compare values that were measured in pairs, one after the other; `threshold` is a share, such as 0.1.

    It is "slower" when the whole interval lies above half the threshold, "faster" likewise, "same" when the interval
    excludes a change by the whole threshold, and otherwise "unclear". A change by exactly the threshold has its
    interval around it: a rule that asked for the interval beyond the threshold would miss it every other time.
    """
    ratios = [after / before for before, after in zip(old, new, strict=True)]
    low, high = interval(ratios)
    return Verdict(median(old), median(new), median(ratios), low, high, _word(low, high, threshold))


def _word(low: float, high: float, threshold: float) -> Word:
    if low > 1 + threshold / 2:
        return "slower"
    if high < 1 / (1 + threshold / 2):
        return "faster"
    return "same" if 1 / (1 + threshold) < low and high < 1 + threshold else "unclear"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median is, by the order of the values alone, whatever their distribution (the sign test's interval)."""
    ordered = sorted(values)
    outside = _outside(len(ordered))
    return ordered[outside], ordered[-1 - outside]


def _outside(count: int) -> int:
    """How many values at either end are outside the interval: as many as the confidence allows."""
    beyond, outside = 0.0, 0
    while True:
        beyond += comb(count, outside) / 2**count
        if 2 * beyond > 1 - CONFIDENCE:
            return max(outside - 1, 0)
        outside += 1
