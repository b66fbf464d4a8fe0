"""A histogram that costs a bisection: Prometheus' own takes a lock and walks its buckets, once per read of a stream."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily

from headrace.engine.observer import Source


class Histogram:
    """Counts of seconds by bucket, for each source. Belongs to one thread."""

    def __init__(self, name: str, help_text: str, buckets: Sequence[float]) -> None:
        """`buckets` are upper bounds in seconds, growing; the last, unbounded one is added."""
        self._name = name
        self._help = help_text
        self._bounds = tuple(buckets)
        self._labels = (*(str(float(bound)) for bound in buckets), "+Inf")
        self._counts: dict[Source, list[int]] = {}
        self._sums: dict[Source, float] = {}

    def observe(self, source: Source, seconds: float, at_once: int = 0) -> None:
        """Count one, and `at_once` more that took no time at all."""
        counts = self._counts.get(source)
        if counts is None:
            counts = self._counts[source] = [0] * len(self._labels)
            self._sums[source] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        counts[0] += at_once
        self._sums[source] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family as Prometheus reads it: cumulative counts."""
        family = HistogramMetricFamily(self._name, self._help, labels=("model", "provider"))
        for source, counts in self._counts.items():
            buckets = list(zip(self._labels, map(float, accumulate(counts)), strict=True))
            family.add_metric((source.model, source.provider), buckets, self._sums[source])
        yield family
