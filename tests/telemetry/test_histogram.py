"""Ours says what Prometheus' own client says of the same observations, in both of its formats."""

import math

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from headrace.engine.observer import Source
from headrace.telemetry.histogram import Histogram
from tests.telemetry.exposition import samples_of, value

pytestmark = pytest.mark.promise("P26")

# Of 1/64 s: sums of such are exact, in whatever order.
BOUNDS = st.lists(st.integers(0, 999_999 * 64).map(lambda n: n / 64), min_size=1, max_size=8, unique=True).map(sorted)
SECONDS = st.integers(0, 10**7 * 64).map(lambda n: n / 64)
SOURCES = st.builds(Source, st.text(max_size=3), st.sampled_from(["openai", 'a "b"\\\n', ""]))


@given(st.data(), BOUNDS)
def test_it_equals_prometheus_own(data: st.DataObject, bounds: list[float]) -> None:
    on_a_bound = st.sampled_from(bounds)
    observed = data.draw(
        st.lists(st.tuples(SOURCES, st.lists(SECONDS | on_a_bound, max_size=4), st.integers(0, 5)), max_size=20)
    )
    ours = CollectorRegistry()
    theirs = CollectorRegistry()
    histogram = Histogram("wait_seconds", "How long.", bounds)
    ours.register(histogram)
    own = prometheus_client.Histogram(
        "wait_seconds", "How long.", ("model", "provider"), registry=theirs, buckets=bounds
    )
    for source, seconds, at_once in observed:
        histogram.observe(source, *seconds, at_once=at_once)
        child = own.labels(source.model, source.provider)
        for each in [*seconds, *[0.0] * at_once]:
            child.observe(each)
    for encode, parse in (
        (generate_latest, parse_text),
        (openmetrics.generate_latest, parse_openmetrics),
    ):
        got = list(parse(encode(ours).decode()))
        assert [(family.name, family.type) for family in got] == [("wait_seconds", "histogram")]
        assert samples_of(got) == samples_of(parse(encode(theirs).decode()))


def test_buckets_are_cumulative_and_a_bound_is_in_its_own() -> None:
    histogram = Histogram("gap", "Gaps.", (0.5, 1.0))
    here, there = Source("a", "x"), Source("a", "y")
    for seconds in (0, 0.5, 0.75, 1.0, 3):
        histogram.observe(here, seconds)
    histogram.observe(there, 2, at_once=4)
    samples = samples_of(histogram.collect())
    for source, counts, total in ((here, (2, 4, 5), 5.25), (there, (4, 4, 5), 2)):
        labels = {"model": source.model, "provider": source.provider}
        for bound, count in zip(("0.5", "1.0", "+Inf"), counts, strict=True):
            assert value(samples, "gap_bucket", le=bound, **labels) == count
        assert value(samples, "gap_count", **labels) == counts[-1]
        assert math.isclose(value(samples, "gap_sum", **labels), total)


def test_what_was_never_observed_has_no_series() -> None:
    (family,) = Histogram("gap", "Gaps.", (1.0,)).collect()
    assert (family.name, family.type, family.samples) == ("gap", "histogram", [])
