"""A request is sent again as long as nothing of an answer is in the log, after a wait that the policy alone decides."""

from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import errors
from headrace.config.schema import CallSettings
from headrace.engine.retry import LONGEST_RETRY_AFTER, Backoff
from headrace.errors import HeadraceError
from headrace.events import Chunk, Failed, Finished, Record, Status, StepStart, TextDelta
from tests.engine.rig import CANCEL, OPENING, OWNER, Connection, Rig, node, read_all, settle, terminals, words

pytestmark = pytest.mark.anyio

DOWN = errors.UpstreamUnavailable("The model server is down.")
BUSY = errors.RateLimited("Busy.", code="upstream_rate_limited", retry_after=7)
FINAL = errors.UpstreamAuth("The operator's key is wrong.")
DEFAULTS = Backoff.of(CallSettings())
FOREVER = 1e9


def statuses(log: Sequence[Record]) -> list[Status]:
    return [event for record in log for event in record.events if isinstance(event, Status)]


def text_of(log: Sequence[Record]) -> str:
    return "".join(event.text for record in log for event in record.events if isinstance(event, TextDelta))


def answer(rig: Rig, index: int, text: str = "answer") -> None:
    rig.provider.call(index).say([OPENING], words(text))
    rig.provider.call(index).finish()


@pytest.mark.promise("P21")
@pytest.mark.parametrize("error", [DOWN, errors.UpstreamIncomplete("x"), errors.UpstreamTimeout("x"), BUSY], ids=repr)
async def test_a_failure_before_the_first_frame_is_tried_again(error: HeadraceError) -> None:
    with anyio.fail_after(5):
        async with node(retries=2) as rig:
            started = await rig.start()
            for index in range(2):
                rig.provider.call(index).fail(error)
            answer(rig, 2)
            await settle()
            for _ in range(2):
                rig.clock.advance(8)
                await settle()
            log = await read_all(started.subscription)
            assert rig.provider.asked == 3
            assert rig.history == ["asked", "closed"] * 3
            assert (text_of(log), terminals(log)) == ("answer", [Finished("stop")])
            assert [status.code for status in statuses(log)] == ["retrying", "retrying"]
            assert error.message in statuses(log)[0].message and " s." in statuses(log)[0].message


@pytest.mark.promise("P21")
async def test_the_wait_is_half_a_second_then_twice_that_less_a_quarter_at_most() -> None:
    with anyio.fail_after(5):
        async with node(retries=2) as rig:
            started = await rig.start()
            for index in range(3):
                rig.provider.call(index).fail(DOWN)
            for tries, shortest, longest in ((1, 0.375, 0.5), (2, 0.75, 1.0)):
                await settle()
                rig.clock.advance(shortest - 0.01)
                await settle()
                assert rig.provider.asked == tries
                rig.clock.advance(longest - shortest + 0.02)
                await settle()
                assert rig.provider.asked == tries + 1
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed) and terminal.code == "upstream_unavailable"


@pytest.mark.promise("P21")
async def test_a_retry_after_is_waited_for() -> None:
    with anyio.fail_after(5):
        async with node(retries=1) as rig:
            started = await rig.start()
            rig.call.fail(BUSY)
            answer(rig, 1)
            await settle()
            rig.clock.advance(6.9)
            await settle()
            assert rig.provider.asked == 1
            rig.clock.advance(0.2)
            assert terminals(await read_all(started.subscription)) == [Finished("stop")]


@pytest.mark.promise("P21")
@pytest.mark.parametrize(
    "error", [FINAL, errors.UpstreamRejected("x", status=422), errors.RateLimited("x", retry_after=61)], ids=repr
)
async def test_what_a_retry_cannot_help_is_the_answer_at_once(error: HeadraceError) -> None:
    with anyio.fail_after(5):
        async with node(retries=2) as rig:
            started = await rig.start()
            rig.call.fail(error)
            log = await read_all(started.subscription)
            assert rig.provider.asked == 1 and not statuses(log)
            (terminal,) = terminals(log)
            assert isinstance(terminal, Failed) and terminal.code == error.error_code


@pytest.mark.promise("P21")
@pytest.mark.parametrize(
    "said",
    [[OPENING], [Chunk((StepStart("scripted", "m"),))], [OPENING, *words("a")]],
    ids=["role", "step", "content"],
)
async def test_nothing_is_tried_again_once_a_part_of_an_answer_is_in_the_log(said: list[Chunk]) -> None:
    with anyio.fail_after(5):
        async with node(retries=2) as rig:
            started = await rig.start()
            rig.call.say(said)
            rig.call.fail(DOWN)
            log = await read_all(started.subscription)
            assert rig.provider.asked == 1 and not statuses(log)
            assert isinstance(log[-1].terminal, Failed)


@pytest.mark.promise("P21")
async def test_a_wait_that_the_first_tokens_deadline_does_not_leave_is_not_begun() -> None:
    with anyio.fail_after(5):
        async with node(retries=2, ttft_timeout=6) as rig:
            started = await rig.start()
            rig.call.fail(BUSY)
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed) and terminal.code == "upstream_rate_limited"


@pytest.mark.promise("P20", "P21")
async def test_all_tries_together_have_one_deadline_for_the_first_token() -> None:
    with anyio.fail_after(5):
        async with node(retries=2, ttft_timeout=6) as rig:
            started = await rig.start()
            rig.clock.advance(5)
            await settle()
            rig.call.fail(DOWN)
            await settle()
            rig.clock.advance(0.6)
            await settle()
            assert rig.provider.asked == 2
            rig.clock.advance(1)
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed) and terminal.code == "upstream_ttft_timeout"


@pytest.mark.promise("P21", "P8")
@pytest.mark.parametrize("by", ["client", "disconnect"])
async def test_a_stream_can_be_stopped_while_it_waits(by: str) -> None:
    with anyio.fail_after(5):
        async with node(retries=2) as rig:
            started = await rig.start(CANCEL)
            rig.call.fail(DOWN)
            await settle()
            if by == "client":
                await rig.engine.cancel(started.stream_id, OWNER)
            started.subscription.close()
            await settle()
            log = await rig.records(started.stream_id)
            assert [getattr(event, "by", None) for event in terminals(log)] == [by]
            rig.clock.advance(60)
            await settle()
            assert rig.provider.asked == 1


@pytest.mark.promise("P13", "P21")
@pytest.mark.parametrize("last", ["answer", "failure"])
async def test_retries_are_invisible_before_the_commit_point(last: str) -> None:
    with anyio.fail_after(5):
        async with node(retries=1) as rig:
            started = await rig.start()
            rig.call.fail(DOWN)
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, hold=10))
                await settle()
                assert connection.status is None
                if last == "answer":
                    answer(rig, 1)
                else:
                    rig.provider.call(1).fail(DOWN)
                rig.clock.advance(0.5)
                await settle()
            if last == "failure":
                assert connection.status == 503 and b"retrying" not in connection.body
            else:
                assert connection.status == 200 and connection.clean
                assert connection.body.count(b'"role":"assistant"') == 1
                assert b"retrying" not in connection.body and b"answer" in connection.body


@pytest.mark.promise("P21")
@pytest.mark.parametrize(("format", "shown"), [("openai.chat", False), ("text", False), ("native", True)])
async def test_only_the_native_view_shows_the_retry(format: str, shown: bool) -> None:
    with anyio.fail_after(5):
        async with node(retries=1) as rig:
            started = await rig.start()
            rig.call.fail(DOWN)
            answer(rig, 1)
            await settle()
            rig.clock.advance(1)
            connection = Connection()
            await connection.serve(rig.streamed(started.subscription, format))
            assert connection.clean and (b"retrying" in connection.body) == shown


@pytest.mark.promise("P21")
@given(
    retries=st.integers(0, 100),
    shortest=st.floats(0, 1e4),
    longest=st.floats(0, 1e4),
    attempt=st.integers(0, 120),
    draw=st.floats(0, 1, exclude_max=True),
    left=st.floats(-10, 1e5),
    asked=st.none() | st.floats(0, 1e4),
)
def test_every_wait_is_within_its_bounds(
    retries: int, shortest: float, longest: float, attempt: int, draw: float, left: float, asked: float | None
) -> None:
    backoff = Backoff(retries, shortest, longest)
    wait = backoff.wait(errors.UpstreamUnavailable("x", retry_after=asked), attempt, draw, left)
    if attempt >= retries or (asked or 0) > LONGEST_RETRY_AFTER:
        assert wait is None
    elif wait is None:
        assert max(asked or 0, min(shortest * 2.0**attempt, longest)) >= left
    else:
        pause = min(shortest * 2.0**attempt, longest)
        assert 0 <= wait < left
        assert (asked or 0) <= wait <= max(asked or 0, pause)
        assert wait >= pause * 0.75


@pytest.mark.promise("P21")
@pytest.mark.parametrize(
    ("attempt", "error", "draw", "wait"),
    [
        (0, DOWN, 0.0, 0.5),
        (0, DOWN, 0.999999, 0.375),
        (1, DOWN, 0.0, 1.0),
        (1, errors.RateLimited("x", retry_after=60), 0.0, 60.0),
        (1, errors.RateLimited("x", retry_after=60.1), 0.0, None),
        (1, errors.RateLimited("x", retry_after=0.0), 0.0, 1.0),
        (2, DOWN, 0.0, None),
        (0, FINAL, 0.0, None),
    ],
)
def test_the_defaults_are_those_of_the_openai_client(
    attempt: int, error: HeadraceError, draw: float, wait: float | None
) -> None:
    assert DEFAULTS.wait(error, attempt, draw, FOREVER) == (None if wait is None else pytest.approx(wait, rel=1e-4))
