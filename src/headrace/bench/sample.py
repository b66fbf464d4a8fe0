"""Many values of one quantity in bounded memory, and what statistics say about them."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Sequence
from operator import mul
from typing import Final

import msgspec

LIMIT: Final = 65_536
"""Values kept: half a megabyte. The 99th percentile then still rests on more than 300 of them."""


class Summary(msgspec.Struct, frozen=True):
    """What is said about a sample, in its own unit."""

    count: int
    mean: float
    std: float
    """Of the values themselves: divided by n, as numpy does by default."""
    min: float
    max: float
    median: float
    percentiles: dict[float, float]


class Sample:
    """Values in the order in which they came.

    Count, mean, standard deviation and extremes are of all values. Percentiles are of those that are kept: all of them
    up to a limit, then one of every two neighbours, of every four, and so on, each drawn at random. So the kept ones
    keep their order, and no rhythm of the traffic can make them one-sided.
    """

    def __init__(self, limit: int = LIMIT, seed: int = 0) -> None:
        """`limit` is even; `seed` decides which values are kept."""
        self.count = 0
        self.kept = array("d")
        """Those that are not among the `zeros`."""
        self.zeros = 0
        """How many were only counted, by `extend`."""
        self.stride = 1
        """One of so many values is kept."""
        self._limit = limit
        self._random = random.Random(seed)
        self._place = 0  # of the next value to be kept among its neighbours
        self._ahead = 0  # so many values come before it
        self._origin = self._sum = self._squares = 0.0
        self._min, self._max = math.inf, -math.inf

    def add(self, value: float) -> None:
        """Take one value."""
        self.extend((value,))

    def extend(self, values: Sequence[float], zeros: int = 0) -> None:
        """Take some values, and `zeros` more that are zero and cost nothing."""
        if not self.count:
            # Squares of differences, not of values: a deviation far below the mean would drown in their digits.
            self._origin = 0.0 if zeros else values[0] if values else 0.0
        if zeros:
            self.count += zeros
            self.zeros += zeros
            self._sum -= zeros * self._origin
            self._squares += zeros * self._origin**2
            self._min, self._max = min(self._min, 0.0), max(self._max, 0.0)
        if not values:
            return
        shifted = [value - self._origin for value in values]
        self.count += len(values)
        self._sum += math.fsum(shifted)
        self._squares += sum(map(mul, shifted, shifted))
        self._min, self._max = min(self._min, min(values)), max(self._max, max(values))
        self._keep(values)

    def _keep(self, values: Sequence[float]) -> None:
        """Keep one of every `stride` values; the cost is that of those which are kept."""
        if self.stride == 1 and len(self.kept) + len(values) < self._limit:
            self.kept.extend(values)
            return
        next_one = self._ahead
        while next_one < len(values):
            self.kept.append(values[next_one])
            next_one += self.stride - self._place
            if len(self.kept) == self._limit:
                self.kept = halved(self.kept, self._random)
                self.stride *= 2
            self._place = self._random.randrange(self.stride)
            next_one += self._place
        self._ahead = next_one - len(values)

    def summary(self, percentiles: Iterable[float]) -> Summary | None:
        """Everything at once, because it sorts; None when there is no value."""
        if not self.count:
            return None
        ordered = sorted(self.kept)
        shifted = self._sum / self.count
        return Summary(
            count=self.count,
            mean=self._origin + shifted,
            std=math.sqrt(max(0.0, self._squares / self.count - shifted * shifted)),
            min=self._min,
            max=self._max,
            median=self._percentile(ordered, 50),
            percentiles={percent: self._percentile(ordered, percent) for percent in percentiles},
        )

    def _percentile(self, ordered: Sequence[float], percent: float) -> float:
        """Between the two nearest ranks in a straight line, numpy's default."""
        place = (self.count - 1) * percent / 100
        below = math.floor(place)
        low = self._at(ordered, below)
        if below == place:
            return low
        return low + (self._at(ordered, below + 1) - low) * (place - below)

    def _at(self, ordered: Sequence[float], rank: int) -> float:
        """The value of this rank among all values, the zeros first."""
        if rank < self.zeros:
            return 0.0
        return ordered[(rank - self.zeros) * len(ordered) // (self.count - self.zeros)]


def halved(values: Sequence[float], chance: random.Random) -> array[float]:
    """One of every two neighbours, at random; the order stays."""
    bits = chance.getrandbits(len(values) // 2 or 1)
    return array("d", (values[2 * pair + ((bits >> pair) & 1)] for pair in range(len(values) // 2)))


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of them, evenly over their order."""
    if len(values) <= most:
        return list(values)
    return [values[index * len(values) // most] for index in range(most)]
