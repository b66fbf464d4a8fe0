"""Each deadline ends a stream by itself, in its own words, and what is no content stops none of them."""

from typing import Any

import anyio
import pytest

from headrace.config import Config, Model
from headrace.config.schema import CallSettings
from headrace.engine.deadlines import Deadlines, tick_of
from headrace.engine.measurement import Measurement
from headrace.engine.observer import Observer, Source
from headrace.events import ArgsDelta, Attrs, Chunk, Event, Failed, Finished, ItemStart, Status, StepStart, TextDelta
from headrace.events import Usage as Counted
from tests.engine.rig import OPENING, Rig, node, read_all, relays, settle, terminals, words

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"ttft_timeout": 8.0, "stream_idle_timeout": 4.0, "total_timeout": 60.0}
TTFT, IDLE, TOTAL = "upstream_ttft_timeout", "upstream_idle_timeout", "upstream_total_timeout"
WORD = Chunk((TextDelta(0, "word"),))

FRAMING: list[list[Chunk]] = [
    [],
    [OPENING],
    [Chunk((Attrs({"system_fingerprint": "fp"}),))],
    [Chunk((Counted(1, 0),))],
    [Chunk((ItemStart(1, "tool_call", name="look", call_id="c1"),))],
    [Chunk((Status("queued", "."),))],
]
CONTENT: list[Event] = [TextDelta(0, "a"), ArgsDelta(1, "{")]


async def pass_time(rig: Rig, seconds: float) -> None:
    """Second by second, as the wheel sees it."""
    for _ in range(int(seconds * 2)):
        rig.clock.advance(0.5)
        await settle()


@pytest.mark.promise("P20")
@pytest.mark.parametrize(
    ("said", "seconds", "code", "retryable"),
    [
        ([], 8, TTFT, True),
        ([OPENING], 8, TTFT, True),
        ([OPENING, WORD], 4, IDLE, True),
    ],
    ids=["no frame", "framing only", "content"],
)
async def test_silence_fails_the_stream_and_closes_the_upstream(
    said: list[Chunk], seconds: float, code: str, retryable: bool
) -> None:
    with anyio.fail_after(5):
        async with node(**SETTINGS) as rig:
            started = await rig.start()
            if said:
                rig.call.say(said)
            await settle()
            await pass_time(rig, seconds - 0.5)
            assert relays(rig.engine)
            await pass_time(rig, 1.5)
            assert rig.history == ["asked", "closed"]
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed)
            assert (terminal.code, terminal.status, terminal.retryable) == (code, 504, retryable)


@pytest.mark.promise("P20")
@pytest.mark.parametrize("said", FRAMING, ids=["nothing", "role", "attrs", "usage", "tool name", "status"])
@pytest.mark.parametrize(("content", "code"), [(False, TTFT), (True, IDLE)])
async def test_pings_and_framing_do_not_count_as_tokens(said: list[Chunk], content: bool, code: str) -> None:
    with anyio.fail_after(5):
        async with node(**SETTINGS) as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            if content:
                rig.call.say([WORD])
            await settle()
            for _ in range(16):  # one every half second
                rig.call.say(said)
                await pass_time(rig, 0.5)
            await pass_time(rig, 1)
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed) and terminal.code == code


@pytest.mark.promise("P20")
async def test_a_model_that_never_stops_meets_the_total_deadline_also_without_readers() -> None:
    with anyio.fail_after(5):
        async with node(**SETTINGS) as rig:
            started = await rig.start()
            started.subscription.close()
            rig.call.say([OPENING])
            for _ in range(31):
                rig.call.say(words("more"))
                await pass_time(rig, 2)
            log = await rig.records(started.stream_id)
            (terminal,) = terminals(log)
            assert isinstance(terminal, Failed)
            assert (terminal.code, terminal.status, terminal.retryable) == (TOTAL, 504, False)
            assert sum(isinstance(event, TextDelta) for record in log for event in record.events) == 30
            assert rig.history == ["asked", "closed"]


@pytest.mark.promise("P20")
@pytest.mark.parametrize("event", CONTENT, ids=lambda event: type(event).__name__)
async def test_every_kind_of_content_starts_the_time_anew(event: Event) -> None:
    with anyio.fail_after(5):
        async with node(**SETTINGS) as rig:
            started = await rig.start()
            rig.call.say([OPENING, Chunk((ItemStart(1, "tool_call"),))])
            await pass_time(rig, 7)
            for _ in range(5):
                rig.call.say([Chunk((event,))])
                await pass_time(rig, 3.5)
            rig.call.finish()
            assert terminals(await read_all(started.subscription)) == [Finished("stop")]


@pytest.mark.promise("P20")
async def test_an_upstream_that_lingers_after_its_marker_meets_no_deadline() -> None:
    with anyio.fail_after(5):
        async with node(**SETTINGS) as rig:
            started = await rig.start()
            rig.call.say([OPENING, WORD])
            rig.call.say([Chunk((StepStart("scripted", "m"),))])
            rig.call.finish()
            await pass_time(rig, 70)
            assert terminals(await read_all(started.subscription)) == [Finished("stop")]


@pytest.mark.promise("P20")
async def test_many_streams_need_no_timer_of_their_own() -> None:
    with anyio.fail_after(5):
        async with node(**SETTINGS) as rig:
            started = [await rig.start() for _ in range(20)]
            await settle()
            assert rig.timers() == 0
            await pass_time(rig, 9)
            for each in started:
                (terminal,) = terminals(await read_all(each.subscription))
                assert isinstance(terminal, Failed) and terminal.code == TTFT


@pytest.mark.promise("P20")
def test_all_deadlines_are_on_by_default() -> None:
    settings = Config()
    assert settings.connect_timeout == 10
    began = 100.0
    measurement = Measurement(Source(), Observer(), began)
    deadlines = Deadlines(settings, measurement)
    assert deadlines.passed(began + 299) is None
    assert str(deadlines.passed(began + 300)) == "The model said nothing for 300 s (ttft_timeout)."
    measurement.note([WORD], began + 290)
    assert deadlines.passed(began + 409) is None
    idle, total = deadlines.passed(began + 410), deadlines.passed(began + 1800)
    assert idle is not None and idle.error_code == IDLE
    assert total is not None and total.error_code == TOTAL


@pytest.mark.parametrize(
    ("config", "tick"),
    [
        (Config(), 1.0),
        (Config(stream_idle_timeout=0.4), 0.05),
        (Config(models=(Model(name="m", upstream_model="m", ttft_timeout=0.8),)), 0.1),
        (Config(total_timeout=0.001), 0.01),
    ],
)
def test_the_wheel_turns_several_times_within_the_shortest_deadline(config: Config, tick: float) -> None:
    assert tick_of(config) == pytest.approx(tick)


def test_what_is_left_is_bounded_by_the_first_token_and_by_the_whole() -> None:
    measurement = Measurement(Source(), Observer(), 0)
    assert Deadlines(CallSettings(ttft_timeout=5, total_timeout=9), measurement).left(2) == 3
    assert Deadlines(CallSettings(ttft_timeout=9, total_timeout=5), measurement).left(2) == 3
