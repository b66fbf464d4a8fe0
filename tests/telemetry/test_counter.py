"""Amounts by label values, one series each."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace.telemetry.counter import Counter


def exposed(counter: Counter) -> list[str]:
    registry = CollectorRegistry()
    registry.register(counter)
    text = generate_latest(registry).decode()
    assert all(family.type == "counter" for family in text_string_to_metric_families(text))
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_each_set_of_labels_is_one_series() -> None:
    counter = Counter("ends", "Ends.", ("state", "code"))
    for values, amount in ((("failed", "a"), 1), (("failed", "b"), 2), (("failed", "a"), 3), (("failed", 'c"\n'), 0)):
        counter.add(amount, *values)
    assert exposed(counter) == [
        'ends_total{code="a",state="failed"} 4.0',
        'ends_total{code="b",state="failed"} 2.0',
        'ends_total{code="c\\"\\n",state="failed"} 0.0',
    ]


def test_without_labels_it_is_there_from_the_start() -> None:
    counter = Counter("resumes", "Resumes.")
    assert exposed(counter) == ["resumes_total 0.0"]
    counter.add(1)
    counter.add(2)
    assert exposed(counter) == ["resumes_total 3.0"]


def test_with_labels_it_begins_when_something_is_counted() -> None:
    assert exposed(Counter("ends", "Ends.", ("state",))) == []
