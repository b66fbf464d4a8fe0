"""What a reader that does not read costs, and how it is got rid of."""

import anyio
import msgspec
import pytest

from headrace import errors
from headrace.codecs.sse import SSEDecoder
from headrace.dialects import DIALECTS
from headrace.transports.connection import ABORT, WRITE_BYTES
from headrace.transports.framing import BATCH_BYTES, PlainText
from headrace.transports.http import AnswerResponse, WholeResponse, answer_response
from tests.engine.rig import KEEPALIVE, OPENING, Connection, Rig, node, settle, words

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P23")]

DEADLINE = 2.0
"""Far shorter than the heartbeats' interval."""
FRAME = "x" * 10_000


class Abortable(Connection):
    """The side of a server that offers the extension."""

    def __init__(self, *, stalled: bool = False) -> None:
        super().__init__(stalled=stalled)
        self.aborts = 0
        self.extensions[ABORT] = self._abort

    def _abort(self) -> None:
        self.aborts += 1
        self.gone.set()


async def pass_the_deadline(rig: Rig) -> None:
    """The wheel turns four times a deadline, and only on to the next turn when the clock moves."""
    for _ in range(5):
        rig.clock.advance(DEADLINE / 4)
        await settle()


async def test_a_reader_that_lags_gets_bounded_writes_with_the_ids_in_order() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=1000.0) as rig:
            started = await rig.start()
            connection = Connection(stalled=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING], words(*[FRAME] * 50))
                rig.call.finish()
                await settle()
                connection.resume()
            assert connection.clean
            assert max(map(len, connection.writes)) < BATCH_BYTES + 2 * len(FRAME)
            ids = [event.id for event in SSEDecoder().feed(connection.body)]
            assert ids == [f"c1.{number + 1}" for number in range(len(ids))]
            assert connection.body.count(FRAME.encode()) == 50


async def test_a_frame_larger_than_a_write_comes_in_several_each_with_its_own_deadline() -> None:
    class Slow(Connection):
        """Takes each message just in time."""

        async def send(self, message) -> None:
            rig.clock.advance(DEADLINE * 0.9)
            await settle()
            await super().send(message)

    large = "y" * (5 * WRITE_BYTES)
    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            connection = Slow()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, "text", PlainText()))
                rig.call.say([OPENING], words(large))
                rig.call.finish()
            assert connection.clean
            assert connection.body == large.encode()
            assert max(map(len, connection.writes)) == WRITE_BYTES


async def test_a_reader_that_is_cut_is_aborted_where_the_server_can_and_left_in_either_case() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            able, unable = Abortable(stalled=True), Connection(stalled=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(able.serve, rig.streamed(started.subscription))
                other = await rig.engine.subscribe(started.stream_id, "someone")
                tasks.start_soon(unable.serve, rig.streamed(other))
                rig.call.say([OPENING])
                await settle()
                assert able.aborts == 0
                await pass_the_deadline(rig)
                assert able.aborts == 1
                assert able.aborted
                assert unable.aborted
                assert rig.engine.readers(started.stream_id) == 0
                rig.call.finish()


async def test_nobody_is_aborted_who_reads() -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            connection = Abortable()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING], words("a"))
                rig.call.finish()
            assert connection.clean
            assert connection.aborts == 0


@pytest.mark.parametrize(("format", "framing"), [("openai.chat", None), ("text", PlainText())])
async def test_a_reader_that_has_nothing_to_read_is_not_taken_for_one_that_does_not_read(format: str, framing) -> None:
    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            connection = Abortable()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription, format, framing))
                rig.call.say([OPENING], words("a"))
                await settle()
                for _ in range(round(3 * KEEPALIVE / DEADLINE)):
                    await pass_the_deadline(rig)
                assert not connection.returned
                rig.call.say(words("b"))
                rig.call.finish()
            assert connection.clean
            assert connection.aborts == 0


async def test_a_head_that_is_not_taken_is_a_write_too() -> None:
    class Deaf(Connection):
        """Still has the end of another answer to take."""

        async def send(self, message) -> None:
            await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            connection = Deaf()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                await settle()
                await pass_the_deadline(rig)
                assert connection.returned
                rig.call.finish()


async def test_the_last_frame_of_an_aborted_body_has_a_deadline_too() -> None:
    class Deaf(Abortable):
        """Stops to read at the last frame, which its server still takes, as uvicorn does."""

        def _take(self, body: bytes) -> None:
            super()._take(body)
            if b'"error"' in body:
                self.stall()

    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            connection = Deaf()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.serve, rig.streamed(started.subscription))
                rig.call.say([OPENING])
                rig.call.fail(errors.UpstreamIncomplete("cut off"))
                await settle()
                assert not connection.returned
                await pass_the_deadline(rig)
                assert connection.aborts == 1
            assert connection.aborted


@pytest.mark.parametrize("stage", ["begin", "middle", "end"])
async def test_a_whole_answer_that_is_not_read_is_cut(stage: str) -> None:
    class Deaf(Abortable):
        """Stops to read at some place."""

        async def send(self, message) -> None:
            if stage == "end" and message.get("body") == b"":
                self.stall()
            await super().send(message)
            if stage == "middle":
                self.stall()

    with anyio.fail_after(5):
        async with node(write_timeout=DEADLINE) as rig:
            started = await rig.start()
            rig.call.say([OPENING], words(*[FRAME] * 50))
            rig.call.finish()
            await settle()
            again = WholeResponse(
                answer_response(DIALECTS["openai.chat"], await rig.engine.answer(started.stream_id), {}),
                started.stream_id,
                rig.heartbeats,
            )
            first = AnswerResponse(
                started.subscription, DIALECTS["openai.chat"], rig.heartbeats, headers={}, replayable=False
            )
            for response in (first, again):
                connection = Deaf(stalled=stage == "begin")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(connection.serve, response)
                    await settle()
                    assert not connection.returned
                    await pass_the_deadline(rig)
                assert connection.aborts == 1
                assert connection.aborted
                assert max(map(len, connection.writes), default=0) <= WRITE_BYTES


async def test_a_whole_answer_is_the_same_in_many_writes() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING], words(*[FRAME] * 100))
            rig.call.finish()
            await settle()
            response = answer_response(DIALECTS["openai.chat"], await rig.engine.answer(started.stream_id), {})
            connection = Connection()
            await connection.serve(WholeResponse(response, started.stream_id, rig.heartbeats))
            assert connection.clean
            assert connection.body == response.body
            assert int(connection.headers["content-length"]) == len(connection.body)
            assert len(connection.writes) == 1 + -(-len(connection.body) // WRITE_BYTES)
            assert msgspec.json.decode(connection.body)["choices"][0]["message"]["content"] == FRAME * 100
            started.subscription.close()
