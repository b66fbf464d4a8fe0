import random
from array import array

import pytest

from headrace.bench.sample import Sample, thinned


def summary(values, percentiles=(), zeros=0, limit=65_536):
    sample = Sample(limit)
    sample.extend(values, zeros)
    found = sample.summary(percentiles)
    assert found is not None
    return found


def test_figures_are_those_of_numpy():
    # What its percentile, mean, median and std say about 1 to 10.
    found = summary([float(value) for value in range(1, 11)], (0, 25, 50, 90, 99, 100))
    assert list(found.percentiles.values()) == pytest.approx([1, 3.25, 5.5, 9.1, 9.91, 10])
    assert (found.mean, found.median, found.count) == (5.5, 5.5, 10)
    assert found.std == pytest.approx(2.8722813232690143)
    assert (found.min, found.max) == (1, 10)


def test_order_does_not_matter():
    values = [9.0, 1.0, 4.0, 4.0, 7.5]
    assert summary(values, (10, 95)) == summary(sorted(values), (10, 95))


def test_one_value_is_every_percentile():
    assert set(summary([4.0], (1, 50, 99)).percentiles.values()) == {4.0}


def test_nothing_has_no_figures():
    assert Sample().summary((50,)) is None


def test_zeros_that_were_only_counted_are_values():
    counted = summary([3.0, 1.0, 2.0], (10, 50, 75, 90), zeros=3)
    written = summary([0.0, 0.0, 0.0, 3.0, 1.0, 2.0], (10, 50, 75, 90))
    assert counted == written


def test_only_zeros():
    found = summary([], (50, 99), zeros=4)
    assert (found.count, found.mean, found.max, found.percentiles[99]) == (4, 0, 0, 0)


def test_a_mean_far_from_zero_leaves_the_deviation_right():
    found = summary([1000.0, 1000.001, 1000.002])
    assert found.std == pytest.approx(0.000816496580927726, rel=1e-4)


def test_many_values_are_kept_in_part_and_in_order():
    sample = Sample(limit=64)
    sample.extend(array("d", range(10_000)))
    assert sample.stride == 256
    assert 32 <= len(sample.kept) < 64
    assert list(sample.kept) == sorted(sample.kept)
    found = sample.summary((50, 100))
    assert found is not None
    assert (found.count, found.mean, found.min, found.max) == (10_000, 4999.5, 0, 9_999)


def test_values_one_by_one_and_all_at_once_are_the_same():
    values = [random.Random(1).random() for _ in range(500)]
    at_once, one_by_one = Sample(limit=64, seed=3), Sample(limit=64, seed=3)
    at_once.extend(values)
    for value in values:
        one_by_one.add(value)
    assert at_once.kept == one_by_one.kept


def test_a_rhythm_in_the_values_does_not_decide_which_are_kept():
    sample = Sample(limit=2048)
    sample.extend([float(number % 2) for number in range(100_000)])
    assert 0.4 < sum(sample.kept) / len(sample.kept) < 0.6


def test_percentiles_of_a_part_are_near_those_of_all():
    draw = random.Random(7)
    values = [draw.expovariate(1) for _ in range(200_000)]
    whole, part = summary(values, (50, 99), limit=400_000), summary(values, (50, 99), limit=16_384)
    for percent, value in whole.percentiles.items():
        assert part.percentiles[percent] == pytest.approx(value, rel=0.1)


def test_thinning_is_even_and_keeps_what_fits():
    assert thinned([1.0, 2.0], 5) == [1.0, 2.0]
    assert thinned(list(map(float, range(100))), 4) == [0, 25, 50, 75]
