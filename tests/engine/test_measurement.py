"""Time to first token and gaps: of what says something, per chunk, on the monotonic clock, without pauses of ours."""

import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bodies import Body
from headrace.dialects.openai_chat import ChatDecoder
from headrace.engine.clock import FakeClock
from headrace.engine.measurement import TOGETHER, Measurement, says
from headrace.engine.observer import Source
from headrace.errors import Overloaded, UpstreamUnavailable
from headrace.events import ArgsDelta, Chunk, ItemStart, TextDelta
from headrace.stores.base import Lease
from tests.engine.rig import OPENING, OWNER, SOURCE, Rig, Witness, marker, node, read_all, settle, words
from tests.stores.waiting import WaitingStore

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P26")]

WORD = words("word")[0]


def frame(delta: dict[str, Any] | None = None, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": None, **choice}]}


def call(**function: str) -> dict[str, Any]:
    return frame({"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": function}]})


EMPTY_LOGPROBS = {"content": [], "refusal": None}
FRAMING: dict[str, Any] = {
    "role": frame({"role": "assistant"}),
    "role with empty text": frame({"role": "assistant", "content": ""}),
    "role with empty text and logprobs": frame({"role": "assistant", "content": ""}, logprobs=EMPTY_LOGPROBS),
    "empty reasoning": frame({"reasoning_content": "", "content": None}),
    "name of a tool": call(name="look", arguments=""),
    "usage": {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}},
    "vendor fields": {"choices": [], "system_fingerprint": "fp_1", "service_tier": "flex"},
    "finish": frame(finish_reason="stop"),
    "no choices": {"choices": []},
}
CONTENT: dict[str, Any] = {
    "text": frame({"content": "word"}),
    "text with the role": frame({"role": "assistant", "content": "word"}),
    "reasoning": frame({"reasoning_content": "hm"}),
    "reasoning by its other name": frame({"reasoning": "hm"}),
    "refusal": frame({"refusal": "No."}),
    "arguments": call(name="look", arguments="{"),
    "space": frame({"content": " "}),
}


def decoded(*frames: Any) -> list[Chunk]:
    """What a model server's frames become."""
    decoder = ChatDecoder("scripted", "upstream-model")
    return [chunk for each in frames if (chunk := decoder.feed(json.dumps(each).encode())) is not None]


@pytest.mark.parametrize("named", FRAMING)
def test_a_frame_that_says_nothing_is_no_content(named: str) -> None:
    assert not any(map(says, decoded(FRAMING["role"], FRAMING[named])))


@pytest.mark.parametrize("named", CONTENT)
def test_a_frame_that_says_something_is_content(named: str) -> None:
    assert [says(chunk) for chunk in decoded(FRAMING["role"], CONTENT[named])] == [False, True]


def test_a_chunk_counts_once_however_much_it_says() -> None:
    both = Chunk((ItemStart(0, "text"), TextDelta(0, "a"), TextDelta(0, "b"), ArgsDelta(1, "{")))
    witness = Witness()
    measurement = Measurement(SOURCE, witness, 0)
    assert measurement.note([both, both, both], 1)
    measurement.tell()
    assert (witness.ttfts, witness.gaps, witness.at_once) == ([1], [0], 1)


def test_the_observer_is_told_of_many_reads_together_and_of_the_rest_at_the_end() -> None:
    witness = Witness()
    measurement = Measurement(SOURCE, witness, 0)
    for second in range(TOGETHER + 3):
        measurement.note([WORD, WORD], second)
        assert len(witness.gaps) == (TOGETHER if second >= TOGETHER - 1 else 0)
    measurement.tell()
    measurement.tell()  # nothing is told twice
    assert witness.gaps == [0, *[1] * (TOGETHER + 2)]
    assert witness.at_once == TOGETHER + 2


READS = st.lists(st.tuples(st.integers(0, 10**6), st.lists(st.booleans(), max_size=5)))


@given(READS, st.lists(st.integers(0, 10**6), max_size=3))
def test_all_gaps_together_are_the_time_from_the_first_content_to_the_last_without_our_pauses(
    reads: list[tuple[int, list[bool]]], pauses: list[int]
) -> None:
    witness = Witness()
    measurement = Measurement(SOURCE, witness, 0)
    now, contents, times = 0, 0, list[int]()
    for (silence, batch), pause in zip(reads, [*pauses, *[0] * len(reads)], strict=False):
        now += silence
        if measurement.note([WORD if said else OPENING for said in batch], now):
            contents += sum(batch)
            times.append(now)
        now += pause
        measurement.paused(pause)
        times = [time + pause for time in times]
    measurement.tell()
    assert (measurement.ttft is None) == (contents == 0) == (not witness.ttfts)
    if times:
        assert len(witness.gaps) + witness.at_once == contents - 1
        assert sum(witness.gaps) == times[-1] - times[0]
        assert all(gap >= 0 for gap in witness.gaps)


@pytest.mark.parametrize("named", CONTENT)
async def test_the_first_token_is_the_first_content_and_no_framing_before_it(named: str) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            *framing, content = decoded(*FRAMING.values(), CONTENT[named])
            for chunk in framing:
                await settle()
                rig.clock.advance(1)
                rig.call.say([chunk], [])  # and a ping
            await settle()
            rig.clock.advance(2)
            rig.call.say([content])
            await settle()
            assert rig.witness.ttfts == [len(framing) + 2]
            rig.clock.advance(60)
            rig.call.finish()
            await read_all(started.subscription)
        (end,) = rig.witness.ends
        assert (end.ttft, end.duration) == (len(framing) + 2, len(framing) + 62)


async def test_an_answer_that_says_nothing_has_no_first_token() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say(decoded(*FRAMING.values()))
            rig.call.finish()
            await read_all(started.subscription)
        assert (rig.witness.ttfts, rig.witness.gaps) == ([], [])
        assert rig.witness.ends[0].ttft is None


@pytest.mark.promise("P21")
async def test_retries_and_the_waits_between_them_are_in_the_time_to_the_first_token() -> None:
    with anyio.fail_after(5):
        async with node(retries=2, retry_backoff=4.0) as rig:
            started = await rig.start()
            for attempt, error in enumerate([UpstreamUnavailable("Down."), Overloaded("Full.", retry_after=20)]):
                await settle()
                rig.clock.advance(3)
                rig.provider.call(attempt).fail(error)
                await settle()
                rig.clock.advance(20)
            await settle()
            rig.provider.call(2).say([OPENING, WORD])
            await settle()
            assert rig.witness.ttfts == [46]
            rig.provider.call(2).finish()
            await read_all(started.subscription)
        assert (rig.witness.ends[0].ttft, rig.witness.ends[0].retries) == (46, 2)


class SlowStore(WaitingStore):
    """Takes its time for every new stream."""

    gate = anyio.Event()

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        await self.gate.wait()
        return await super().acquire(stream_id, owner, request, ttl)


async def test_a_store_that_is_slow_is_in_the_time_to_the_first_token() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = SlowStore(now=clock.wall)
        store.gate = anyio.Event()
        async with node(store, clock) as rig, anyio.create_task_group() as tasks:

            async def ask() -> None:
                await read_all((await rig.start()).subscription)

            tasks.start_soon(ask)
            await settle()
            clock.advance(7)
            store.gate.set()
            rig.call.say([OPENING, WORD])
            rig.call.finish()
        assert rig.witness.ttfts == [7]


async def answered(rig: Rig) -> None:
    """Content after 5 s, then reads with one chunk, none, and three."""
    started = await rig.start()
    for silence, batch in (
        (5, [OPENING, *words("a", "b", "c")]),
        (2, words("d")),
        (1, decoded(FRAMING["usage"])),
        (0.5, []),
        (0.25, [*words("e"), OPENING, *words("f", "g")]),
        (0, words("h")),
    ):
        await settle()
        rig.clock.advance(silence)
        rig.call.say(batch)
    await settle()
    rig.clock.advance(100)
    rig.call.finish()
    await read_all(started.subscription)


GAPS = [0, 2, 1.75, 0]
AT_ONCE = 3


async def test_gaps_are_per_chunk_and_those_of_one_read_came_at_once() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            await answered(rig)
        assert rig.witness.ttfts == [5]
        assert (rig.witness.gaps, rig.witness.at_once) == (GAPS, AT_ONCE)


class Jumping(FakeClock):
    """Somebody sets the machine's time, again and again: ten minutes on, twenty back."""

    _jumps = 0

    def wall(self) -> float:
        self._jumps += 1
        return super().wall() + (600 if self._jumps % 2 else -600)


async def test_a_clock_that_is_set_changes_no_measurement() -> None:
    with anyio.fail_after(5):
        async with node(clock=Jumping()) as rig:
            await answered(rig)
        assert rig.witness.ttfts == [5]
        assert (rig.witness.gaps, rig.witness.at_once) == (GAPS, AT_ONCE)
        (end,) = rig.witness.ends
        assert (end.ttft, end.duration) == (5, 108.75)


@pytest.mark.promise("P23")
async def test_a_pause_of_ours_is_no_gap_of_the_upstreams() -> None:
    with anyio.fail_after(5):
        async with node(backpressure="pause", pause_lag=2, pause_timeout=1000.0) as rig:
            started = await rig.start()
            rig.call.say([OPENING, *words("a", "b")])
            await settle()
            rig.clock.advance(400)  # nobody reads
            rig.call.say(words("c"))
            await settle()
            for _ in range(2):  # taken, and come back for more
                await started.subscription.available()
            await settle()
            rig.clock.advance(3)
            rig.call.say(words("d"))
            await settle()
            rig.call.finish()
            await read_all(started.subscription)
        assert rig.witness.gaps == [0, 0, 3]


@pytest.mark.promise("P7")
async def test_the_time_of_a_cancel_ends_when_the_upstream_is_closed() -> None:
    with anyio.fail_after(5):
        async with node() as rig, anyio.create_task_group() as tasks:
            started = await rig.start()
            gate = anyio.Event()
            rig.call.gates.append(gate)
            rig.call.say([OPENING, WORD])
            await settle()
            tasks.start_soon(rig.engine.cancel, started.stream_id, OWNER)
            await settle()
            rig.clock.advance(2)
            tasks.start_soon(rig.engine.cancel, started.stream_id, OWNER)  # the first one counts
            await settle()
            rig.clock.advance(1)
            assert rig.witness.closings == []
            gate.set()
            await read_all(started.subscription)
        assert rig.witness.closings == [3]


async def test_a_cancel_that_came_too_late_is_not_measured() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING, WORD], marker())
            await settle()
            rig.clock.advance(1)
            await rig.engine.cancel(started.stream_id, OWNER)
            await read_all(started.subscription)
        assert rig.witness.closings == []


def test_sources_with_the_same_words_are_one() -> None:
    assert len({Source("a", "b"), Source("a", "b")}) == 1
