"""One subscription to one HTTP connection: when it commits, how it ends, what it says while nothing happens."""

from collections.abc import Callable

import anyio
import msgspec
import pytest

from headrace import errors
from headrace.codecs.sse import SSEDecoder
from headrace.config import Disconnect
from headrace.dialects import DIALECTS
from headrace.engine.clock import FakeClock
from headrace.errors import StoreError
from headrace.events import Chunk, StepStart, Usage
from headrace.transports.framing import NDJSON, SSE, Framing, PlainText
from headrace.transports.http import AnswerResponse
from tests.engine.rig import (
    CANCEL,
    CONTINUE,
    GRACE,
    KEEPALIVE,
    OPENING,
    OWNER,
    Connection,
    Rig,
    node,
    settle,
    words,
)
from tests.stores.waiting import WaitingStore

pytestmark = pytest.mark.anyio

HOLD = 10.0


def payloads(body: bytes) -> list[bytes]:
    return [event.data for event in SSEDecoder().feed(body)]


async def _finish(rig: Rig, stream_id: str) -> None:
    rig.call.finish()


async def _fail(rig: Rig, stream_id: str) -> None:
    rig.call.fail(errors.UpstreamIncomplete("cut off"))


async def _cancel(rig: Rig, stream_id: str) -> None:
    await rig.engine.cancel(stream_id, OWNER)


FRAMINGS: dict[str, Callable[[str], Framing]] = {
    "sse": lambda name: SSE(ids="x.", retry=True, quote=name == "text"),
    "ndjson": lambda name: NDJSON(quote=name == "text"),
    "bytes": lambda name: PlainText(),
}

# docs/protocol.md, "How a body ends": whether the body ends cleanly, and what its last data frame holds.
ENDS = [
    ("openai.chat", "sse", _finish, True, b"[DONE]"),
    ("openai.chat", "sse", _fail, False, b'"code":"upstream_incomplete"'),
    ("openai.chat", "sse", _cancel, False, b'"code":"cancelled"'),
    ("openai.chat", "ndjson", _finish, True, b'"[DONE]"'),
    ("openai.chat", "ndjson", _fail, False, b'"code":"upstream_incomplete"'),
    ("openai.chat", "ndjson", _cancel, False, b'"code":"cancelled"'),
    ("native", "sse", _finish, True, b'"type":"finished"'),
    ("native", "sse", _fail, True, b'"type":"failed"'),
    ("native", "sse", _cancel, True, b'"type":"cancelled"'),
    ("native", "ndjson", _finish, True, b'"type":"finished"'),
    ("native", "ndjson", _fail, True, b'"type":"failed"'),
    ("native", "ndjson", _cancel, True, b'"type":"cancelled"'),
    ("text", "sse", _finish, True, b'"b"'),
    ("text", "sse", _fail, False, b'"b"'),
    ("text", "ndjson", _cancel, False, b'"b"'),
    ("text", "bytes", _finish, True, b"ab"),
    ("text", "bytes", _fail, False, b"ab"),
    ("text", "bytes", _cancel, False, b"ab"),
]


@pytest.mark.promise("P5")
@pytest.mark.parametrize("replayed", [False, True], ids=["live", "replayed"])
@pytest.mark.parametrize(("name", "framing", "end", "clean", "last"), ENDS)
async def test_a_body_ends_cleanly_only_where_its_last_frame_says_that_all_is_there(
    name: str, framing: str, end: Callable, clean: bool, last: bytes, replayed: bool
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            response = rig.streamed(started.subscription, name, FRAMINGS[framing](name))
            async with anyio.create_task_group() as tasks:
                if not replayed:
                    tasks.start_soon(connection.serve, response)
                rig.call.say([OPENING], words("a"), words("b"))
                await settle()
                assert not connection.returned
                await end(rig, started.stream_id)
                await settle()
                if replayed:
                    tasks.start_soon(connection.serve, response)
            assert connection.clean is clean
            frames = {"sse": payloads, "ndjson": bytes.splitlines, "bytes": lambda body: [body]}[framing](
                connection.body
            )
            assert last in frames[-1]
            assert sum(b"DONE" in frame or b'"error"' in frame for frame in frames) <= 1
            assert SSEDecoder().feed(connection.body) or framing != "sse"


@pytest.mark.promise("P5")
async def test_a_reader_of_a_deleted_stream_is_aborted() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            rig.call.finish()
            await settle()
            connection = Connection(stalled=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, "native", _one_by_one(rig)))
                await settle()
                await rig.engine.delete(started.stream_id, OWNER)
                connection.resume()
            assert connection.aborted


def _one_by_one(rig: Rig) -> Framing:
    """Native SSE; the reads behind it return one record each."""
    read = rig.store.read

    async def one(stream_id: str, after: int, limit: int):
        return await read(stream_id, after, 1)

    rig.store.read = one  # pyright: ignore[reportAttributeAccessIssue]
    return SSE(ids="n1.")


@pytest.mark.promise("P5")
async def test_a_reader_whose_log_cannot_be_read_is_aborted() -> None:
    class Broken(WaitingStore):
        broken = False

        async def read(self, stream_id: str, after: int, limit: int):
            if self.broken:
                raise StoreError("gone")
            return await super().read(stream_id, after, limit)

    with anyio.fail_after(5):
        clock = FakeClock()
        store = Broken(now=clock.wall)
        async with node(store, clock) as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING])
                await settle()
                store.broken = True
                rig.call.finish()
            assert connection.aborted
            assert b"upstream-model" not in connection.body


async def test_a_server_that_raises_at_a_lost_connection_counts_as_a_reader_that_left() -> None:
    class Raising(Connection):
        async def send(self, message) -> None:
            if self.writes:
                raise BrokenPipeError
            await super().send(message)

    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(CANCEL)
            connection = Raising()
            connection.extensions.clear()  # a direct write never raises
            rig.call.say([OPENING])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                await settle()
                rig.call.say(words("a"))
            await settle()
            assert (await rig.engine.info(started.stream_id, OWNER)).state == "cancelled"


@pytest.mark.promise("P16", "P1")
@pytest.mark.parametrize(
    ("framing", "media_type"),
    [
        (SSE(), "text/event-stream; charset=utf-8"),
        (NDJSON(), "application/x-ndjson; charset=utf-8"),
        (PlainText(), "text/plain; charset=utf-8"),
    ],
)
async def test_headers_keep_proxies_from_buffering_and_name_the_stream(framing: Framing, media_type: str) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            rig.call.finish()
            connection = Connection()
            await connection.serve(rig.streamed(started.subscription, "native", framing))
            assert connection.status == 200
            assert connection.headers == {
                "content-type": media_type,
                "cache-control": "no-cache, no-transform",
                "x-accel-buffering": "no",
                "headrace-stream-id": started.stream_id,
            }


@pytest.mark.promise("P13")
async def test_nothing_is_sent_before_the_upstreams_first_frame() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, "native", hold=HOLD))
                await settle()
                rig.clock.advance(HOLD - 0.1)
                await settle()
                assert connection.status is None
                rig.call.say([Chunk((StepStart("scripted", "m"),))])
                await settle()
                assert connection.status == 200
                assert len(payloads(connection.body)) == 2
                assert rig.timers() == 0
                rig.call.finish()
            assert connection.clean


@pytest.mark.promise("P13")
async def test_the_commit_does_not_wait_for_a_frame_of_the_view() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, "text", hold=HOLD))
                rig.call.say([OPENING])
                await settle()
                assert connection.status == 200
                rig.call.say(words("a"))
                rig.call.finish()
            assert payloads(connection.body) == [b'"a"']


@pytest.mark.promise("P13")
@pytest.mark.parametrize("hold", [0.0, HOLD])
async def test_after_the_hold_the_headers_go_out_and_failures_are_in_band(hold: float) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, hold=hold))
                await settle()
                assert connection.status is None
                rig.clock.advance(hold)
                await settle()
                assert connection.status == 200
                rig.call.fail(errors.UpstreamUnavailable("down", retry_after=7))
            assert connection.aborted
            assert b'"code":"upstream_unavailable"' in payloads(connection.body)[-1]
            assert "retry-after" not in connection.headers


@pytest.mark.promise("P13")
@pytest.mark.parametrize(
    ("error", "status", "retry_after", "should_retry"),
    [
        (errors.RateLimited("slow down", retry_after=2.1), 429, "3", None),
        (errors.UpstreamUnavailable("down"), 503, None, None),
        (errors.UpstreamAuth("the operator's"), 502, None, "false"),
        (errors.UpstreamRejected("no", status=418), 418, None, None),
        (errors.UpstreamTimeout("slow"), 504, None, None),
        (ZeroDivisionError(), 500, None, "false"),
    ],
    ids=repr,
)
async def test_a_failure_before_the_first_frame_is_an_ordinary_http_error(
    error: Exception, status: int, retry_after: str | None, should_retry: str | None
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            rig.call.fail(error)
            await connection.serve(rig.streamed(started.subscription, hold=HOLD))
            assert connection.status == status
            assert connection.clean
            assert connection.headers.get("retry-after") == retry_after
            assert connection.headers.get("x-should-retry") == should_retry
            assert connection.headers["content-type"] == "application/json"
            assert connection.headers["headrace-stream-id"] == started.stream_id
            assert "error" in msgspec.json.decode(connection.body)


@pytest.mark.promise("P13")
async def test_a_stream_that_is_stopped_or_deleted_in_the_hold_is_an_http_error() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            for index, action in enumerate((rig.engine.cancel, rig.engine.delete)):
                started = await rig.start()
                connection = Connection()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(connection.serve, rig.streamed(started.subscription, hold=HOLD))
                    await settle()
                    await action(started.stream_id, OWNER)
                assert connection.status == 499
                assert connection.clean
                assert rig.provider.asked == index + 1


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("policy", "state"),
    [(CANCEL, "cancelled"), (GRACE, "running"), (CONTINUE, "running")],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("phase", ["held", "streaming"])
async def test_a_client_that_goes_away_is_a_reader_that_left(policy: Disconnect, state: str, phase: str) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(policy)
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, hold=HOLD))
                if phase == "streaming":
                    rig.call.say([OPENING])
                await settle()
                connection.gone.set()
            assert connection.aborted
            await settle()
            assert rig.engine.readers(started.stream_id) == 0
            assert (await rig.engine.info(started.stream_id, OWNER)).state == state
            rig.clock.advance(30)
            await settle()
            assert (await rig.engine.info(started.stream_id, OWNER)).state == (
                "running" if policy is CONTINUE else "cancelled"
            )
            rig.call.finish()


async def _pass(rig: Rig, seconds: float) -> None:
    """Let time pass so slowly that the wheel looks as often as it does."""
    for _ in range(int(seconds / KEEPALIVE * 8)):
        rig.clock.advance(KEEPALIVE / 8)
        await settle()


@pytest.mark.promise("P14")
async def test_heartbeats_come_only_when_idle_and_do_not_move_the_position() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                await settle()
                assert connection.writes == []
                rig.call.say([OPENING])
                await settle()
                for _ in range(8):  # words arrive: no heartbeat
                    await _pass(rig, KEEPALIVE / 2)
                    rig.call.say(words("a"))
                    await settle()
                assert b":\n" not in connection.writes
                # Silence: one an interval, the first at most a quarter late, as the wheel dates what was written.
                await _pass(rig, KEEPALIVE * 3.25)
                assert connection.writes[-3:] == [b":\n"] * 3
                assert connection.writes.count(b":\n") == 3
                rig.call.say(words("b"))
                rig.call.finish()
            assert connection.clean
            events = SSEDecoder().feed(connection.body)
            assert [event.id for event in events] == [f"c1.{number + 1}" for number in range(len(events))]
            assert all(write == b":\n" or write == b"" or write.endswith(b"\n\n") for write in connection.writes)
            sent = len(connection.writes)
            rig.clock.advance(10 * KEEPALIVE)
            await settle()
            assert len(connection.writes) == sent


@pytest.mark.promise("P14")
async def test_no_heartbeat_before_the_commit_and_none_in_plain_text() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            held, text, lines = Connection(), Connection(), Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(held.serve, rig.streamed(started.subscription, hold=1000.0))
                for connection, framing in ((text, PlainText()), (lines, NDJSON(quote=True))):
                    subscription = await rig.engine.subscribe(started.stream_id, OWNER)
                    tasks.start_soon(connection.serve, rig.streamed(subscription, "text", framing))
                await settle()
                rig.clock.advance(KEEPALIVE)
                await settle()
                assert held.status is None
                assert text.writes == []
                assert lines.writes == [b"\n"]
                rig.call.say([OPENING], words("a"))
                rig.call.finish()
            assert text.body == b"a"
            assert lines.body == b'\n"a"\n'


@pytest.mark.promise("P23")
async def test_a_reader_that_does_not_read_slows_nobody_and_is_cut_at_the_deadline() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=30.0) as rig:
            started = await rig.start()
            stalled, other = Connection(stalled=True), Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stalled.serve, rig.streamed(started.subscription))
                subscription = await rig.engine.subscribe(started.stream_id, OWNER)
                tasks.start_soon(other.serve, rig.streamed(subscription))
                rig.call.say([OPENING])
                for number in range(50):
                    rig.call.say(words(f"{number}"))
                    await settle()
                    assert f'"content":"{number}"'.encode() in other.writes[-1]
                rig.clock.advance(29)
                await settle()
                assert not stalled.returned
                rig.clock.advance(5)
                await settle()
                assert stalled.aborted
                assert stalled.body == b""
                assert rig.engine.readers(started.stream_id) == 1
                rig.call.finish()
            assert other.clean


@pytest.mark.promise("P23")
async def test_a_reader_that_does_not_read_the_last_bytes_is_cut_too_and_late_by_a_quarter_at_most() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=2.0) as rig:  # far shorter than the heartbeats' interval
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING])
                await settle()
                connection.stall_at_the_end = True
                rig.call.finish()
                await settle()
                assert not connection.returned
                for _ in range(5):
                    rig.clock.advance(0.5)
                    await settle()
                assert connection.aborted
            assert b"[DONE]" in connection.body


@pytest.mark.promise("P23")
async def test_a_reader_that_reads_again_gets_what_it_missed_in_one_write_and_no_late_heartbeat() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=1000.0) as rig:
            started = await rig.start()
            connection = Connection(stalled=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING])
                for number in range(50):
                    rig.call.say(words(f"{number}"))
                    await settle()
                    rig.clock.advance(KEEPALIVE)
                    await settle()
                rig.call.finish()
                await settle()
                connection.resume()
            assert connection.clean
            assert len(connection.writes) == 3
            assert b":\n" not in connection.writes


@pytest.mark.promise("P14")
async def test_a_heartbeat_that_waits_for_its_reader_never_overtakes_the_end() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=1000.0) as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING])
                await settle()
                connection.stall()
                for _ in range(5):
                    rig.clock.advance(KEEPALIVE)
                    await settle()
                rig.call.finish()
                await settle()
                connection.resume()
            assert connection.clean
            assert connection.writes.count(b":\n") == 1
            assert connection.writes[-1] == b""


def _answering(rig: Rig, subscription, *, replayable: bool = False) -> AnswerResponse:
    headers = {"headrace-stream-id": subscription.stream_id}
    return AnswerResponse(subscription, DIALECTS["openai.chat"], rig.heartbeats, headers=headers, replayable=replayable)


@pytest.mark.promise("P12", "P1")
async def test_a_whole_answer_is_the_stream_read_to_its_end() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(CANCEL)
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, _answering(rig, started.subscription))
                rig.call.say([OPENING], words("Hel"), words("lo"))
                await settle()
                assert connection.status is None
                rig.call.finish("length", Usage(3, 5))
            assert connection.status == 200
            assert connection.headers["headrace-stream-id"] == started.stream_id
            body = msgspec.json.decode(connection.body)
            assert body["object"] == "chat.completion"
            assert body["choices"][0]["message"]["content"] == "Hello"
            assert body["usage"]["completion_tokens"] == 5


@pytest.mark.promise("P12")
@pytest.mark.parametrize(("end", "status", "code"), [(_fail, 502, "upstream_incomplete"), (_cancel, 499, "cancelled")])
@pytest.mark.parametrize("replayable", [False, True])
async def test_a_failed_answer_holds_the_partial_text(end: Callable, status: int, code: str, replayable: bool) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, _answering(rig, started.subscription, replayable=replayable))
                rig.call.say([OPENING], words("Hel"))
                await settle()
                await end(rig, started.stream_id)
            assert connection.status == status
            error = msgspec.json.decode(connection.body)["error"]
            assert (error["code"], error["partial"]) == (code, "Hel")
            assert connection.headers.get("x-should-retry") == ("false" if replayable else None)


@pytest.mark.promise("P12", "P8")
@pytest.mark.parametrize(("policy", "state"), [(CANCEL, "cancelled"), (GRACE, "running")], ids=str)
@pytest.mark.parametrize("phase", ["queued", "middle"])
async def test_a_client_that_leaves_while_it_waits_for_an_answer_triggers_the_policy(
    policy: Disconnect, state: str, phase: str
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(policy)
            connection = Connection()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, _answering(rig, started.subscription))
                if phase == "middle":
                    rig.call.say([OPENING], words("Hel"))
                await settle()
                connection.gone.set()
            assert connection.status is None
            await settle()
            assert (await rig.engine.info(started.stream_id, OWNER)).state == state
            rig.call.finish()


@pytest.mark.promise("P12")
async def test_an_answer_whose_stream_is_deleted_is_not_found() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.finish()
            await settle()
            await rig.engine.delete(started.stream_id, OWNER)
            connection = Connection()
            await connection.serve(_answering(rig, started.subscription))
            assert connection.status == 404
