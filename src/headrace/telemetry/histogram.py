"""A histogram that costs a bisection: Prometheus' own takes a lock and walks its buckets for every token."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily

from headrace.engine.observer import Source


class _Series:
    """What one source has taken."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Histogram:
    """Counts of seconds by bucket, for each source. Belongs to one thread."""

    def __init__(self, name: str, help_text: str, buckets: Sequence[float]) -> None:
        """`buckets` are upper bounds in seconds, from 0 to below a million, growing; the unbounded one is added."""
        self._name = name
        self._help = help_text
        self._bounds = tuple(buckets)
        self._labels = (*(str(float(bound)) for bound in buckets), "+Inf")
        self._series: dict[Source, _Series] = {}

    def observe(self, source: Source, *seconds: float, at_once: int = 0) -> None:
        """Count each, and `at_once` more that took no time at all."""
        series = self._series.get(source)
        if series is None:
            series = self._series[source] = _Series(len(self._labels))
        for each in seconds:
            series.counts[bisect_left(self._bounds, each)] += 1
        series.counts[0] += at_once
        series.total += sum(seconds)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family as Prometheus reads it: cumulative counts."""
        family = HistogramMetricFamily(self._name, self._help, labels=("model", "provider"))
        for source, series in self._series.items():
            buckets = list(zip(self._labels, map(float, accumulate(series.counts)), strict=True))
            family.add_metric((source.model, source.provider), buckets, series.total)
        yield family
