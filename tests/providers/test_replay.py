"""Recordings, and that they come back as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec
import pytest

from headrace.errors import (
    ConfigError,
    HeadraceError,
    RateLimited,
    StreamCancelled,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocol,
    UpstreamTimeout,
)
from headrace.events import (
    Attrs,
    Cancelled,
    Chunk,
    Event,
    Failed,
    Finished,
    ItemStart,
    Record,
    StepEnd,
    StepStart,
    StreamStart,
    Terminal,
    TextDelta,
    Usage,
)
from headrace.messages import Request
from headrace.providers.recording import decode_record
from headrace.providers.replay import ReplayProvider

pytestmark = pytest.mark.anyio
FIXTURES = Path(__file__).parents[1] / "fixtures"
WATER = FIXTURES / "water.ndjson"
QUESTION = Request("native", "m", ())
START = StreamStart(id="0" * 32, owner="o", created=1, model="m", dialect="native")
STEP = StepStart(provider="openai", model="up")


class Sleeps:
    """Notes how long somebody would have slept."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def batches_of(provider: ReplayProvider) -> list[list[Chunk]]:
    with anyio.fail_after(5):
        async with aclosing(provider.stream(QUESTION, "m")) as chunks:
            return [batch async for batch in chunks]


async def failure(provider: ReplayProvider) -> tuple[list[Chunk], HeadraceError]:
    got: list[Chunk] = []
    with anyio.fail_after(5), pytest.raises(HeadraceError) as caught:
        async with aclosing(provider.stream(QUESTION, "m")) as chunks:
            async for batch in chunks:
                got += batch
    return got, caught.value


def events_of(batches: Sequence[Sequence[Chunk]]) -> list[Event]:
    return [event for batch in batches for chunk in batch for event in chunk.events]


def recording(folder: Path, *records: tuple[int, tuple[Event, ...]], terminal: Terminal | None = None) -> Path:
    """Write a log: record 0 at 0 ms, then each at its time, then the terminal 5 ms later."""
    last = records[-1][0] if records else 0
    timed = [(0, (START,)), *records, *([(last + 5, (terminal,))] if terminal else [])]
    lines = [msgspec.json.encode(Record(seq, 1000 + at, events)) for seq, (at, events) in enumerate(timed)]
    path = folder / "log.ndjson"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


async def test_a_log_comes_back_without_what_the_engine_wrote_into_it():
    events = events_of(await batches_of(ReplayProvider(WATER, "instant")))
    assert events[:3] == [
        StepStart("replay", "gpt-4o-mini-2024-07-18", "openai.chat", "chatcmpl-D1kQhRz8"),
        Attrs({"system_fingerprint": "fp_3b1f7c90ae"}),
        ItemStart(0, "text"),
    ]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Water runs downhill."
    assert events[-2:] == [Usage(9, 5), StepEnd("stop", Usage(9, 5))]
    assert not any(isinstance(event, StreamStart | Finished) for event in events)


@pytest.mark.promise("P17")
async def test_raw_frames_come_back():
    batches = await batches_of(ReplayProvider(str(WATER), "instant"))
    raw = [bytes(chunk.raw) for batch in batches for chunk in batch if chunk.raw is not None]
    assert len(raw) == 1
    assert raw[0].endswith(b'"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}')


@pytest.mark.promise("P17")
async def test_logprobs_and_raw_survive_the_log():
    record = Record(3, 7, (TextDelta(0, "a", msgspec.Raw(b'{"content":[]}')),), msgspec.Raw(b'{"x":1}'))
    again = decode_record(msgspec.json.encode(record))
    assert msgspec.json.encode(again) == msgspec.json.encode(record)
    assert isinstance(again.events[0], TextDelta)


async def test_the_recorded_pace_is_kept_and_records_of_one_read_stay_together():
    sleeps = Sleeps()
    batches = await batches_of(ReplayProvider(WATER, sleep=sleeps))
    assert sleeps.seconds == [0.412, 0.028, 0.015, 0.015]
    assert [len(batch) for batch in batches] == [2, 3, 2, 2]


async def test_instant_never_sleeps():
    sleeps = Sleeps()
    await batches_of(ReplayProvider(WATER, "instant", sleep=sleeps))
    assert sleeps.seconds == []


@pytest.mark.promise("P7")
async def test_an_instant_answer_lets_others_run_in_between_so_it_can_be_stopped():
    provider = ReplayProvider(
        [Chunk((STEP,)), *[Chunk((TextDelta(0, "a"),))] * 100, Chunk((StepEnd("stop"),))], "instant"
    )
    batches: list[Sequence[Chunk]] = []
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with aclosing(provider.stream(QUESTION, "m")) as stream:
            async for batch in stream:
                batches.append(batch)
                if len(batches) == 3:
                    scope.cancel()
    assert len(batches) == 3


async def test_a_clock_that_went_back_is_no_pause(tmp_path: Path):
    path = recording(
        tmp_path, (50, (STEP,)), (20, (TextDelta(0, "a"),)), (30, (StepEnd("stop"),)), terminal=Finished("stop")
    )
    sleeps = Sleeps()
    await batches_of(ReplayProvider(path, sleep=sleeps))
    assert sleeps.seconds == [0.05, 0.01]


async def test_every_question_gets_the_whole_answer():
    provider = ReplayProvider(WATER, "instant")
    await provider.start()
    first, second = await batches_of(provider), await batches_of(provider)
    assert events_of(first) == events_of(second)
    await provider.close()


async def test_the_end_of_a_step_in_the_middle_is_never_the_end_of_a_list(tmp_path: Path):
    """Who reads takes a list that ends with a `StepEnd` for the end of the answer."""
    path = recording(
        tmp_path,
        (10, (STEP,)),
        (20, (StepEnd("tool_calls"),)),
        (30, (STEP,)),
        (40, (StepEnd("stop"),)),
        terminal=Finished("stop"),
    )
    for provider in (
        ReplayProvider(path, "instant"),
        ReplayProvider([Chunk((event,)) for event in (STEP, StepEnd("tool_calls"), STEP, StepEnd("stop"))]),
    ):
        batches = await batches_of(provider)
        ends = [isinstance(batch[-1].events[-1], StepEnd) for batch in batches]
        assert ends == [False] * (len(batches) - 1) + [True]


async def test_a_log_without_steps_gets_one(tmp_path: Path):
    path = recording(tmp_path, (10, (TextDelta(0, "a"),)), (20, (Usage(1, 2),)), terminal=Finished("length"))
    events = events_of(await batches_of(ReplayProvider(path, "instant")))
    assert events[0] == StepStart("replay", "log")
    assert events[-1] == StepEnd("length", Usage(1, 2))


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("upstream_incomplete", UpstreamIncomplete, 502),
        ("upstream_protocol", UpstreamProtocol, 502),
        ("upstream_timeout", UpstreamTimeout, 504),
        ("upstream_rate_limited", RateLimited, 429),
        ("producer_lost", UpstreamError, 503),
    ],
)
async def test_a_failed_stream_fails_again_in_the_same_way(
    tmp_path: Path, code: str, kind: type[HeadraceError], status: int
):
    failed = Failed(code, "it broke", retryable=True, status=status, retry_after=3.0)
    sleeps = Sleeps()
    provider = ReplayProvider(recording(tmp_path, (10, (STEP, TextDelta(0, "half"))), terminal=failed), sleep=sleeps)
    for _ in range(2):
        got, error = await failure(provider)
        assert got[-1].events[-1] == TextDelta(0, "half")
        assert type(error) is kind
        assert (error.error_code, error.message, error.status) == (code, "it broke", status)
        assert (error.may_retry, error.retry_after) == (True, 3.0)
    assert sleeps.seconds == [0.01, 0.005] * 2


async def test_a_cancelled_stream_says_so(tmp_path: Path):
    error = (
        await failure(ReplayProvider(recording(tmp_path, (10, (STEP,)), terminal=Cancelled("client")), "instant"))
    )[1]
    assert isinstance(error, StreamCancelled)


@pytest.mark.promise("P6")
async def test_a_log_without_its_end_is_incomplete(tmp_path: Path):
    got, error = await failure(ReplayProvider(recording(tmp_path, (10, (STEP,))), "instant"))
    assert isinstance(error, UpstreamIncomplete)
    assert len(got) == 1


@pytest.mark.promise("P6")
async def test_an_answer_that_said_nothing_has_its_step(tmp_path: Path):
    batches = await batches_of(ReplayProvider(recording(tmp_path, terminal=Finished("stop")), "instant"))
    assert events_of(batches) == [StepStart("replay", "log"), StepEnd("stop")]


async def test_an_empty_log_is_incomplete(tmp_path: Path):
    path = tmp_path / "empty.ndjson"
    path.write_bytes(b"")
    assert isinstance((await failure(ReplayProvider(path)))[1], UpstreamIncomplete)


# Bytes of an OpenAI stream


@pytest.mark.parametrize(("name", "finish"), [("text", "stop"), ("tools", "tool_calls"), ("vendor", "stop")])
async def test_the_bytes_of_a_stream_come_back_at_once(name: str, finish: str):
    batches = await batches_of(ReplayProvider(FIXTURES / f"{name}.sse"))
    assert len(batches) == 1
    first, last = batches[0][0].events[0], batches[0][-1].events[-1]
    assert isinstance(first, StepStart)
    assert first.provider == "replay"
    assert isinstance(last, StepEnd)
    assert last.finish == finish
    assert last.usage is not None


@pytest.mark.promise("P6")
async def test_bytes_without_the_marker_are_incomplete(tmp_path: Path):
    path = tmp_path / "cut.sse"
    path.write_bytes((FIXTURES / "text.sse").read_bytes()[:2000])
    got, error = await failure(ReplayProvider(path))
    assert isinstance(error, UpstreamIncomplete)
    assert len(got) > 1


async def test_an_error_in_the_bytes_comes_after_what_came_before_it(tmp_path: Path):
    path = tmp_path / "error.sse"
    path.write_bytes(
        (FIXTURES / "text.sse").read_bytes()[:2000].rpartition(b"data:")[0] + b'data: {"error":"broke"}\n\n'
    )
    got, error = await failure(ReplayProvider(path))
    assert got
    assert error.message == "The model server failed: broke"


# What is no recording

STEPPED = b'{"seq":0,"at_ms":0,"events":[{"type":"step.start","provider":"p","model":"m","dialect":"openai.chat"}],'
MESSAGES = STEPPED.replace(b"openai.chat", b"anthropic.messages")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.ndjson", b'{"seq":0,"at_ms":0,"events":[]}\n{oops\n', "a.ndjson, line 2: not a record"),
        ("a.ndjson", b'{"seq":0,"at_ms":0,"events":[{"type":"text.delta","item":0}]}\n', "line 1: not a record"),
        ("a.ndjson", b'{"seq":0,"at_ms":0,"events":[{"type":"nonsense"}]}\n', "nonsense"),
        ("a.ndjson", b"\xff\n", "line 1: not a record"),
        ("a.ndjson", b'{"seq":0,"at_ms":0,"events":[],"raw":{"x":"\xff"}}\n', "line 1: not a record"),
        ("a.ndjson", b'{"seq":0,"at_ms":0,"events":[],"raw":' + b"[" * 5000, "line 1: not a record"),
        ("a.ndjson", b'{"seq":-1,"at_ms":0,"events":[]}\n', "line 1: not a record"),
        ("a.ndjson", b'{"seq":0,"at_ms":0,"events":[{"type":"failed","code":"c","message":"m","status":200}]}', "400"),
        ("a.ndjson", STEPPED + b'"raw":{"choices":[7]}}\n', "line 1: its raw frame is none that openai.chat keeps"),
        (
            "a.ndjson",
            STEPPED + b'"raw":{"choices":[{"delta":{"tool_calls":[{"id":"a"}]}}]}}',
            "none that openai.chat keeps",
        ),
        (
            "a.ndjson",
            STEPPED.replace(b"openai.chat", b"openai.responses") + b'"raw":{"type":"response.completed"}}',
            "none that openai.responses keeps",
        ),
        ("a.ndjson", MESSAGES + b'"raw":[]}\n', "line 1: its raw frame is none that anthropic.messages keeps"),
        ("a.ndjson", MESSAGES + b'"raw":{"type":"message_start"}}\n', "line 1: its raw frame is none that"),
        ("a.txt", b"", "must end in .ndjson"),
    ],
)
async def test_what_is_no_recording_stops_the_start(tmp_path: Path, name: str, content: bytes, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        await ReplayProvider(tmp_path / name).start()


async def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        await ReplayProvider(tmp_path / "missing.sse").start()


# Chunks from a test


async def test_chunks_come_one_list_each() -> None:
    chunks = [Chunk((STEP,)), Chunk((TextDelta(0, "a"),)), Chunk((StepEnd("stop"),))]
    sleeps = Sleeps()
    assert await batches_of(ReplayProvider(chunks, sleep=sleeps)) == [[chunk] for chunk in chunks]
    assert sleeps.seconds == []


@pytest.mark.promise("P6")
async def test_chunks_without_an_end_are_incomplete() -> None:
    assert isinstance((await failure(ReplayProvider([Chunk((STEP,))])))[1], UpstreamIncomplete)


async def test_a_replay_can_be_left_in_its_middle() -> None:
    async def frozen(_: float) -> None:
        await anyio.Event().wait()

    async def read() -> AsyncIterator[None]:
        yield

    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with aclosing(ReplayProvider(WATER, sleep=frozen).stream(QUESTION, "m")) as chunks:
            scope.cancel()
            await anext(chunks)
    assert scope.cancelled_caught


async def test_carriage_returns_in_a_recording_break_no_line_of_an_answer(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(STEPPED + b'"raw":{\r"choices":[],\r"x":1}}\r\n')
    got, _ = await failure(ReplayProvider(tmp_path / "a.ndjson", "instant"))
    assert [bytes(chunk.raw) for chunk in got if chunk.raw is not None] == [b'{ "choices":[], "x":1}']
