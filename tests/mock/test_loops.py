"""What differs between the two event loops that the mock runs on: the end of a connection."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from headrace.mock import MockServer, Settings, answer_text, parse_faults
from tests.mock.client import ask, question

LOOPS: list[Any] = [asyncio.new_event_loop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])
@pytest.mark.parametrize(
    ("fault", "tokens"), [("refuse", 0), ("cut-frames:3,how=reset", 3), ("cut-frames:20000,how=reset", 20_000)]
)
def test_a_reset_comes_after_everything_before_it(loop, fault, tokens):
    async def reset() -> None:
        async with MockServer(Settings(tokens=30_000), parse_faults(fault)) as server:
            reply = await ask(server, question())
            assert reply.reset
            if tokens:
                assert reply.text == answer_text(0, "hi", tokens)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(reset())


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])
def test_a_cut_is_a_close_in_the_middle_of_the_body(loop):
    async def cut() -> None:
        async with MockServer(Settings(tokens=30_000), parse_faults("cut-bytes:2MB")) as server:
            reply = await ask(server, question(), until=lambda reply: False)
            assert len(reply.body) == 2_000_000
            assert reply.closed and not reply.reset and not reply.whole

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(cut())
