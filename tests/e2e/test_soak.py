"""The soak for half a minute: memory needs longer to say anything, everything else is judged."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from benchmarks.soak.report import table
from benchmarks.soak.result import Options
from benchmarks.soak.run import soak

OPTIONS = Options(seconds=12, streams=80, seed=1, longest_s=6)


@pytest.mark.timeout(180)
def test_half_a_minute_of_everything_at_once_loses_and_leaks_nothing():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(soak(OPTIONS, lambda _run, _sample: None))
    ledger = result.ledger
    assert not ledger.violated, "\n\n".join([table(result), *map(str, ledger.violations)])
    assert ledger.started == ledger.checked > OPTIONS.streams
    assert {"finished", "failed", "cancelled", "deleted"} <= set(ledger.states)
