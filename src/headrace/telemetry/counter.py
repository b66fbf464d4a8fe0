"""A counter that is one series per set of labels: Prometheus' own adds a second one, with the time of its creation."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily


class Counter:
    """Amounts that only grow, by label values. Belongs to one thread."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        """`name` without `_total`. Without labels it begins at 0, with them when something is counted."""
        self._name = name
        self._help = help_text
        self._labels = tuple(labels)
        self._amounts = Counts[tuple[str, ...]]()
        if not labels:
            self._amounts[()] = 0

    def add(self, amount: int, *values: str) -> None:
        """Count so much for these label values, one for each label."""
        self._amounts[values] += amount

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The family as Prometheus reads it."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, amount in self._amounts.items():
            family.add_metric(values, amount)
        yield family
