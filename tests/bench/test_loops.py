"""What differs between the two event loops: the end of a connection."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from headrace.bench.plan import Load
from headrace.mock import MockServer, Settings, parse_faults
from tests.bench.loading import measured

TOKENS = 12
LOOPS: list[Any] = [asyncio.new_event_loop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])
@pytest.mark.parametrize(
    ("fault", "kind"), [("cut-frames:3,how=reset", "incomplete"), ("refuse", "reset"), ("cut-frames:3", "incomplete")]
)
def test_both_event_loops_tell_the_same(loop, fault, kind):
    async def go() -> None:
        async with MockServer(Settings(tokens=TOKENS), parse_faults(fault)) as server:
            found = await measured(server.url, Load(num_prompts=3))
            assert list(found.problems) == [kind]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())
