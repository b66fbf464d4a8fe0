"""Every target with hypothesis: realistic inputs, and changes to them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec.json import encode

from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS
from tests.strategies import chat_chunks, streams

LARGEST = 16_384
# The slowest target makes a whole application for each input.
EXAMPLES = {"application": 60}
_numbers = st.binary(min_size=2, max_size=2)


def _with_numbers(body: Callable[[Any], bytes], values: SearchStrategy[Any]) -> SearchStrategy[bytes]:
    return st.builds(lambda numbers, value: numbers + body(value), _numbers, values)


def _streamed(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % encode(chunk) for chunk in chunks) + b"data: [DONE]\n\n"


# Random from the ground up, where a strategy knows how: well-formed streams.
MADE: dict[str, SearchStrategy[bytes]] = {
    "chat_stream": _with_numbers(_streamed, chat_chunks()),
    "recording": _with_numbers(lambda records: b"\n".join(map(encode, records)), streams()),
    "mock_recording": streams().map(lambda records: b"\0" + b"\n".join(map(encode, records))),
    "tailed": _with_numbers(lambda records: b"".join(b"data: %b\n\n" % encode(each) for each in records), streams()),
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str):
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_target(name: str):
    changed = st.builds(
        lambda seed, number: mutated(seed, Random(number), LARGEST),
        st.sampled_from(SEEDS[name]),
        st.integers(0, 2**32),
    )
    made = MADE.get(name, st.binary(max_size=64))

    @settings(
        max_examples=EXAMPLES.get(name, 300),
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(changed | made)
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
