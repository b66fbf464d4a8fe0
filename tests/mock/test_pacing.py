from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from headrace.mock import MockServer, Settings
from headrace.mock.answer import made_up
from headrace.mock.delivery import streamed
from headrace.mock.pacing import Gap, Wheel, parse_gap
from headrace.mock.shapes import CHAT
from headrace.mock.steps import Frame, Pause
from tests.mock.client import ask, question


class Loop:
    """Time that a test moves, and the one timer of a wheel."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        loop, timer = self, (when, callback)
        self.timers.append(timer)

        class Handle:
            def cancel(self) -> None:
                loop.timers.remove(timer)

        return Handle()

    def move(self, now: float) -> None:
        self.now = now
        while self.timers and self.timers[0][0] <= now:
            self.timers.pop(0)[1]()


def wheel() -> tuple[Loop, Wheel]:
    loop = Loop()
    return loop, Wheel(cast("asyncio.AbstractEventLoop", loop))


def test_callbacks_come_in_the_order_of_their_time_with_one_timer():
    loop, turning = wheel()
    called: list[str] = []
    turning.at(0.020, lambda: called.append("b"))
    turning.at(0.010, lambda: called.append("a"))
    turning.at(0.0196, lambda: called.append("c"))
    assert len(loop.timers) == 1
    loop.move(0.010)
    assert called == ["a"]
    loop.move(0.025)
    assert called == ["a", "b", "c"]
    assert loop.timers == []


def test_a_callback_can_wait_again():
    loop, turning = wheel()
    called: list[float] = []

    def again() -> None:
        called.append(loop.now)
        if len(called) < 3:
            turning.at(loop.now + 0.005, again)

    turning.at(0.005, again)
    for millisecond in range(30):
        loop.move(millisecond / 1000)
    assert called == [0.005, 0.010, 0.015]


def test_a_closed_wheel_waits_for_nothing():
    loop, turning = wheel()
    turning.at(1, lambda: None)
    turning.close()
    assert loop.timers == []


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("0.02", Gap(a=0.02)),
        ("20ms", Gap(a=0.02)),
        ("exp:0.02", Gap("exp", 0.02)),
        ("normal:20ms,5ms", Gap("normal", 0.02, 0.005)),
        ("lognormal:0.02,0.5", Gap("lognormal", 0.02, 0.5)),
        ("uniform:0,1", Gap("uniform", 0.0, 1.0)),
    ],
)
def test_gaps_are_read(text, gap):
    assert parse_gap(text) == gap


@pytest.mark.parametrize(
    "text", ["", "-1", "soon", "exp", "exp:", "exp:0", "exp:1,2", "gamma:1", "normal:1", "lognormal:1,11"]
)
def test_what_is_no_gap_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|above zero|at most"):
        parse_gap(text)


@pytest.mark.parametrize("text", ["exp:0.02", "normal:0.02,0.005", "lognormal:0.02,0.1", "uniform:0.01,0.03"])
def test_drawn_gaps_have_their_mean_and_come_again_with_the_seed(text):
    gap = parse_gap(text)
    draw, again = gap.drawer("a"), gap.drawer("a")
    assert draw is not None and again is not None
    drawn = [draw() for _ in range(4000)]
    assert drawn == [again() for _ in range(4000)]
    assert min(drawn) >= 0
    assert sum(drawn) / 4000 == pytest.approx(0.02, rel=0.1)


def test_the_first_token_comes_after_its_time_and_each_other_after_a_gap():
    question = CHAT.read(b'{"model":"m","messages":[]}')
    answer = made_up(question, Settings(tokens=3, ttft=1, gap=Gap(a=0.5)), 1)
    steps = list(streamed(answer, CHAT.writer(answer)))
    kinds = ["pause" if isinstance(step, Pause) else step.part for step in steps if isinstance(step, Pause | Frame)]
    assert kinds == ["pause", "structure", "content", "pause", "content", "pause", "content", "finish", "done"]
    assert [step.seconds for step in steps if isinstance(step, Pause)] == [1, 0.5, 0.5]


@pytest.mark.anyio
async def test_a_paced_answer_is_the_same_answer():
    async with (
        MockServer(Settings(tokens=5, ttft=0.002, gap=Gap(a=0.001))) as paced,
        MockServer(Settings(tokens=5)) as fast,
    ):
        assert (await ask(paced, question())).text == (await ask(fast, question())).text
        whole = await ask(paced, question(stream=False))
        assert whole.json()["choices"][0]["message"]["content"] == (await ask(fast, question())).text
