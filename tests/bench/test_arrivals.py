import itertools
import math
import statistics

import pytest

from headrace.bench.arrivals import Ramp, arrival_times, opening_times


def first(count, rate, burstiness=1.0, seed=0, ramp_up=0.0, strategy: Ramp = "linear"):
    return list(itertools.islice(arrival_times(rate, burstiness, seed, ramp_up, strategy), count))


def intervals(times):
    return [after - before for before, after in itertools.pairwise([0.0, *times])]


def test_the_seed_decides_the_times():
    assert first(50, 10.0) == first(50, 10.0)
    assert first(50, 10.0) != first(50, 10.0, seed=1)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_intervals_have_the_mean_of_the_rate_and_the_variance_of_the_burstiness(burstiness):
    found = intervals(first(40_000, 50.0, burstiness))
    assert statistics.fmean(found) == pytest.approx(1 / 50, rel=0.03)
    # Of a gamma distribution with this shape: the variance over the square of the mean is 1 / shape.
    assert statistics.pvariance(found) * 50**2 == pytest.approx(1 / burstiness, rel=0.1)


def test_a_poisson_process_has_exponential_intervals():
    found = intervals(first(40_000, 1.0))
    for limit in (0.5, 1, 2):
        share = sum(interval > limit for interval in found) / len(found)
        assert share == pytest.approx(math.exp(-limit), rel=0.05)


def test_infinite_burstiness_is_a_clock():
    assert first(4, 2.0, math.inf) == [0.5, 1.0, 1.5, 2.0]


def test_an_infinite_rate_is_all_at_once():
    assert first(3, math.inf) == [0, 0, 0]


@pytest.mark.parametrize("strategy", ["linear", "exponential"])
def test_times_grow_through_a_ramp_and_after_it(strategy):
    times = first(5_000, 100.0, ramp_up=10.0, strategy=strategy)
    assert times == sorted(times)
    assert all(interval > 0 for interval in intervals(times))
    after = [interval for time, interval in zip(times, intervals(times), strict=True) if time > 10]
    assert statistics.fmean(after) == pytest.approx(1 / 100, rel=0.05)


def test_a_linear_ramp_has_half_the_requests_of_the_full_rate():
    times = first(2_000, 100.0, math.inf, ramp_up=10.0)
    assert sum(time <= 10 for time in times) == 500
    assert sum(time <= 5 for time in times) == 125
    assert sum(10 < time <= 11 for time in times) == pytest.approx(100, abs=1)


def test_an_exponential_ramp_begins_at_a_hundredth_of_the_rate():
    times = first(2_000, 100.0, math.inf, ramp_up=10.0, strategy="exponential")
    assert sum(time <= 1 for time in times) == 1
    assert sum(time <= 10 for time in times) == pytest.approx(99 * 10 / math.log(100), abs=1)


def test_places_open_evenly_or_ever_faster():
    assert opening_times(5, 8.0) == [0, 2, 4, 6, 8]
    grown = opening_times(8, 3.0, "exponential")
    assert grown == pytest.approx([0, 1, math.log(3) / math.log(2), 2, *grown[4:7], 3])


def test_without_a_ramp_all_places_are_open():
    assert opening_times(3, 0.0) == [0, 0, 0]
    assert opening_times(1, 5.0) == [0]
