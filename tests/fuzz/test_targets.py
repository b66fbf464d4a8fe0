"""Every target with hypothesis: realistic inputs, and changes to them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

LARGEST = 16_384
# The slowest target makes a whole application for each input.
EXAMPLES = {"application": 60}


@pytest.mark.promise("P15", "P25")
@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str):
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.promise("P15", "P25")
@pytest.mark.parametrize("name", TARGETS)
def test_no_change_to_a_seed_breaks_a_target(name: str):
    inputs = st.builds(
        lambda seed, number: mutated(seed, Random(number), LARGEST),
        st.sampled_from(SEEDS[name]),
        st.integers(0, 2**32),
    )

    @settings(
        max_examples=EXAMPLES.get(name, 300),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(inputs | st.binary(max_size=64))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    holds()


def test_every_target_has_seeds():
    assert SEEDS.keys() == TARGETS.keys()
    assert all(SEEDS.values())


def test_changes_stay_within_the_size_and_come_again_for_the_same_number():
    for number in range(200):
        seed = SEEDS["chat_stream"][number % len(SEEDS["chat_stream"])]
        changed = mutated(seed, Random(number), 500)
        assert len(changed) <= 500
        assert changed == mutated(seed, Random(number), 500)
