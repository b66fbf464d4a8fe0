"""What Prometheus reads, as values."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(families: Iterable[Metric]) -> Samples:
    """Values by name and labels, without the times of creation."""
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a series is there twice"
            if not sample.name.endswith("_created"):
                found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """One series' value; 0 for one that is not there yet."""
    return samples.get((name, frozenset(labels.items())), 0)
