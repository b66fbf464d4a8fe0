"""Every case does what it says, as often as it is asked to."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from benchmarks.micro.worker import Case, Prepare, find_cases

FAILED: dict[str, str] = {}
CASES = dict(find_cases([], FAILED))


def test_every_module_fits_this_tree():
    assert FAILED == {}


@pytest.mark.parametrize("prepare", CASES.values(), ids=CASES)
def test_a_case_does_the_same_events_in_every_round(prepare: Prepare):
    assert inspect.getdoc(prepare)

    async def warm() -> Case:
        return await Case.of(prepare, 1.0)

    assert asyncio.run(warm()).events > 0
