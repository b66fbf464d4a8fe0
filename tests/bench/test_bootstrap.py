import random

import pytest

from headrace.bench import bootstrap
from headrace.bench.bootstrap import differences, mean, quantile, share_difference


def drawn(count, middle, seed):
    draw = random.Random(seed)
    return [draw.gauss(middle, 10) for _ in range(count)]


def test_the_interval_of_a_true_difference_holds_it_and_not_zero():
    low, high = differences(drawn(800, 100, 1), drawn(800, 110, 2), [mean])[0]
    assert 0 < low < 10 < high < 15


def test_two_runs_of_the_same_do_not_differ():
    for seed in range(5):
        intervals = differences(drawn(400, 100, seed), drawn(400, 100, seed + 50), [quantile(50), quantile(99)])
        assert all(low < 0 < high for low, high in intervals)


def test_the_seed_decides_the_interval():
    old, new = drawn(100, 1, 1), drawn(100, 2, 2)
    assert differences(old, new, [mean]) == differences(old, new, [mean])
    assert differences(old, new, [mean]) != differences(old, new, [mean], seed=1)


def test_neighbours_that_are_alike_make_the_interval_wide():
    draw = random.Random(4)
    waves = [level for _ in range(40) for level in [draw.gauss(100, 10)] * 25]
    mixed = draw.sample(waves, len(waves))
    other = [100.0] * 1000
    (low, high), (mixed_low, mixed_high) = differences(other, waves, [mean])[0], differences(other, mixed, [mean])[0]
    assert high - low > 3 * (mixed_high - mixed_low)


def test_values_that_are_all_the_same_differ_by_exactly_that():
    assert differences([1.0] * 50, [3.0] * 50, [mean, quantile(99)]) == [(2, 2), (2, 2)]


def test_a_quantile_is_between_the_nearest_two():
    assert quantile(50)([1, 2, 3, 4]) == 2.5
    assert quantile(99)([5]) == 5


def test_a_difference_of_shares_has_the_interval_of_the_literature(monkeypatch):
    # Newcombe (1998), table II, method 10.
    monkeypatch.setattr(bootstrap, "CONFIDENCE", 0.95)
    assert share_difference((48, 80), (56, 70)) == pytest.approx((0.0524, 0.3339), abs=0.0001)
    assert share_difference((0, 10), (10, 10)) == pytest.approx((0.6075, 1.0), abs=0.0001)


def test_shares_are_held_against_each_other_also_where_one_is_zero():
    low, high = share_difference((0, 1000), (50, 1000))
    assert 0 < low < 0.05 < high
    low, high = share_difference((0, 10), (1, 10))
    assert low < 0 < high
