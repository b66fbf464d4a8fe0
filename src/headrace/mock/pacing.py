"""When the next token comes: gaps that are fixed or drawn, and the one wheel that all streams wait on."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable
from typing import Final

import msgspec

from headrace.config.quantities import parse_seconds

# libuv's timers know nothing finer.
_TICK_S: Final = 0.001
# Gaps of e**10 times the median are common then; e**710 is no number any more.
_LARGEST_SIGMA: Final = 10.0
_PARAMETERS: Final = {"exp": 1, "normal": 2, "lognormal": 2, "uniform": 2}
_EXPECTED: Final = (
    "expected seconds such as 0.02 or 20ms, or exp:MEAN, normal:MEAN,SD, lognormal:MEDIAN,SIGMA or uniform:LOW,HIGH"
)


class Gap(msgspec.Struct, frozen=True):
    """Seconds between two tokens: `a` if `kind` is `fixed`, else drawn; a draw below zero is zero."""

    kind: str = "fixed"
    a: float = 0.0
    b: float = 0.0

    def drawer(self, seed: str) -> Callable[[], float] | None:
        """Give what draws one gap after the other, always the same ones for a seed; None when there are no gaps."""
        draw = random.Random(seed)
        a, b = self.a, self.b
        match self.kind:
            case "exp":
                return lambda: draw.expovariate(1 / a)
            case "normal":
                return lambda: max(0.0, draw.normalvariate(a, b))
            case "lognormal":
                return lambda: a * math.exp(draw.normalvariate(0.0, b))
            case "uniform":
                return lambda: draw.uniform(a, b)
            case _:
                return (lambda: a) if a else None


def parse_gap(text: str) -> Gap:
    """Read `0.02`, `20ms`, `exp:0.02`, `normal:0.02,0.005`, `lognormal:0.02,0.5` or `uniform:0.01,0.03`.

    Raises:
        ValueError: it is none of these.
    """
    kind, colon, rest = text.partition(":")
    if not colon:
        return Gap(a=parse_seconds(text))
    numbers = rest.split(",")
    if _PARAMETERS.get(kind) != len(numbers):
        raise ValueError(_EXPECTED)
    a, b = (*(_number(each) for each in numbers), 0.0)[:2]
    if kind != "uniform" and a <= 0:
        raise ValueError("the first number of a distribution is above zero")
    if kind == "lognormal" and b > _LARGEST_SIGMA:
        raise ValueError(f"the SIGMA of a lognormal distribution is at most {_LARGEST_SIGMA:g}")
    return Gap(kind, a, b)


def _number(text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError:
        raise ValueError(_EXPECTED) from None


class Wheel:
    """Callbacks in buckets of 1 ms, with one timer of the event loop for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, list[Callable[[], None]]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call it in the first tick that is not before `when`, in the loop's time."""
        tick = math.ceil(when / _TICK_S)
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.append(callback)
            return
        self._buckets[tick] = [callback]
        heapq.heappush(self._ticks, tick)
        if self._ticks[0] == tick:
            self._arm()

    def close(self) -> None:
        """Forget everything that waits."""
        self._ticks.clear()
        self._buckets.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ticks:
            self._timer = self._loop.call_at(self._ticks[0] * _TICK_S, self._turn)

    def _turn(self) -> None:
        self._timer = None
        # The event loop may be up to half a tick early: its own timers are rounded to milliseconds.
        now = math.floor(self._loop.time() / _TICK_S + 0.5)
        while self._ticks and self._ticks[0] <= now:
            for callback in self._buckets.pop(heapq.heappop(self._ticks)):
                callback()
        self._arm()
