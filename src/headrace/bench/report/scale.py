"""From values to places on a chart, and which values to write beside an axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

Format = Callable[[float], str]

_STEPS: Final = (1, 2, 2.5, 5, 10)
# Over this ratio only a logarithm shows both ends.
_WIDE: Final = 20


class Scale(msgspec.Struct, frozen=True):
    """A range of values on a range of places; `log` needs a range above zero."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; what is outside of the range is at its end."""
        low, high, value = (self._bent(each) for each in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.stop - self.start)

    def _bent(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value

    def ticks(self, most: int) -> list[float]:
        """Round values within the range."""
        if self.log and self.high / self.low > _WIDE:
            return _powers(self.low, self.high, most)
        return _round_steps(self.low, self.high, most)


def _round_steps(low: float, high: float, most: int) -> list[float]:
    if high <= low:
        return [low]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in _STEPS if factor * size >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _powers(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / most))
    return [10.0**power for power in range(first, last + 1, every)]


def reach(values: Sequence[float], *, zero: bool = True) -> tuple[float, float]:
    """The range that holds them all, from zero on or with a little room."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if zero:
        return 0.0, high * 1.05 or 1.0
    return (low / 1.1, high * 1.1) if high > 0 else (0.1, 1.0)


def milliseconds(value: float) -> str:
    """`50 µs`, `12.3 ms`, `1.5 s`."""
    if value >= 1000:
        return f"{value / 1000:.3g} s"
    if value and value < 1:
        return f"{value * 1000:.3g} µs"
    return f"{value:.3g} ms"


def seconds(value: float) -> str:
    """`5 s`, `2 min`."""
    return f"{value / 60:.4g} min" if value >= 120 else f"{value:.4g} s"


def count(value: float) -> str:
    """`0.5`, `120`, `45k`, `1.2M`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    """`12 %`."""
    return f"{value:.3g} %"
