from array import array

import pytest

from headrace.bench.measurement import METRICS, Measurement
from headrace.bench.outcome import Outcome
from headrace.bench.strain import Strain, warnings


def outcome(ttft=0.1, e2el=1.1, gaps=(0.5, 0.5), together=0, chunks=3, tokens: int | None = 11):
    return Outcome("", "", ttft, e2el, array("d", gaps), together, chunks, 5, tokens)


def measured(*outcomes, **options):
    measurement = Measurement(**options)
    for each in outcomes:
        measurement.began()
        measurement.ended(each, None)
    return measurement


def mean(measurement, name):
    summary = measurement.samples[name].summary(())
    return None if summary is None else summary.mean


def test_a_request_is_in_every_distribution():
    found = measured(outcome())
    assert mean(found, "ttft") == 0.1
    assert mean(found, "e2el") == 1.1
    assert mean(found, "itl") == 0.5
    assert mean(found, "tpot") == pytest.approx(0.1)
    assert mean(found, "tps") == pytest.approx(10)
    assert mean(found, "client_queue_time") is None
    assert (found.completed, found.chunks, found.input_tokens, found.output_tokens) == (1, 3, 5, 11)


def test_chunks_that_came_together_are_gaps_of_zero():
    found = measured(outcome(gaps=(0.9,), together=2, chunks=4))
    assert mean(found, "itl") == pytest.approx(0.3)
    assert found.request_itl.kept[0] == pytest.approx(0.3)


def test_without_usage_chunks_are_counted_and_tokens_have_no_time():
    found = measured(outcome(tokens=None), outcome())
    assert (found.output_tokens, found.counted) == (14, 1)
    assert found.samples["tpot"].count == 1


def test_tokens_that_took_no_time_have_no_speed():
    found = measured(outcome(ttft=1.0, e2el=1.0))
    assert mean(found, "tpot") == 0
    assert mean(found, "tps") is None


def test_a_failure_is_counted_by_its_kind_with_the_first_message():
    found = measured(Outcome("http_429", "first"), Outcome("http_429", "second"), Outcome("incomplete", "cut"))
    assert (found.completed, found.failed) == (0, 3)
    assert {kind: (each.count, each.message) for kind, each in found.problems.items()} == {
        "http_429": (2, "first"),
        "incomplete": (1, "cut"),
    }
    assert not any(sample.count for sample in found.samples.values())


@pytest.mark.parametrize("failure", ["http_401", "http_403", "http_404", "http_405"])
def test_what_can_never_succeed_is_hopeless(failure):
    assert measured(Outcome(failure, "no")).hopeless == f"{failure}: no"


@pytest.mark.parametrize("failure", ["http_429", "http_500", "http_400", "incomplete", "refused"])
def test_what_may_succeed_later_is_not(failure):
    assert not measured(Outcome(failure, "no")).hopeless


def test_a_refusal_after_a_success_is_not_hopeless():
    assert not measured(outcome(), Outcome("http_404", "no")).hopeless


def test_a_good_request_is_within_all_limits():
    limits = {"ttft": 0.2, "tpot": 0.1, "e2el": 2.0}
    found = measured(
        outcome(),
        outcome(ttft=0.3, e2el=1.3),
        outcome(ttft=0.1, e2el=1.2),
        outcome(ttft=0.1, e2el=2.1, tokens=100),
        outcome(tokens=None),
        Outcome("incomplete"),
        goodput=limits,
    )
    assert found.good == 2


def test_running_requests_are_counted_and_their_most():
    found = Measurement()
    found.began()
    found.began()
    found.left()
    found.began()
    assert (found.running, found.most_running, found.aborted) == (2, 2, 1)


def test_a_wait_in_this_client_is_a_metric():
    found = Measurement()
    found.began()
    found.ended(outcome(), 0.25)
    assert mean(found, "client_queue_time") == 0.25


def test_the_time_line_has_what_happened_since_the_last_mark():
    found = measured(outcome())
    found.live.chunks = 3
    found.mark(1.0)
    found.live.chunks = 5
    found.began()
    found.ended(Outcome("refused"), None)
    found.mark(1.0)
    assert [(each.chunks, each.completed, each.failed) for each in found.timeline.points] == [(3, 1, 0), (2, 0, 1)]


def test_names_of_metrics_have_their_unit():
    assert {metric.key for metric in METRICS.values()} == {
        "ttft_ms",
        "tpot_ms",
        "itl_ms",
        "e2el_ms",
        "tps",
        "client_queue_time_ms",
    }


class _Strained(Strain):
    def __init__(self, share, late):
        super().__init__()
        self._cpu, self._wall = share, 1.0
        self.lateness.add(late)


def test_a_client_that_is_the_bottleneck_says_so():
    assert list(warnings([_Strained(0.2, 0.001)])) == []
    busy, late = warnings([_Strained(0.2, 0.001), _Strained(0.93, 0.05)])
    assert "93%" in busy and "share the load" in busy
    assert "50 ms late" in late


def test_a_series_that_never_ran_strains_nothing():
    assert (Strain().cpu_share, Strain().late_s) == (0, 0)
