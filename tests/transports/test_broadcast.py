"""Readers that have caught up are written to together: each still gets every frame once, and depends on no other."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.abc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.dialects import DIALECTS
from headrace.engine.clock import FakeClock
from headrace.engine.subscription import Subscription
from headrace.events import Finished, Record, TextDelta
from headrace.stores.memory import MemoryStore
from headrace.transports.framing import NDJSON, SSE, Framing, PlainText
from headrace.transports.heartbeat import Heartbeats
from headrace.transports.http import StreamResponse
from headrace.transports.reader import Reader, start_of
from tests.engine.rig import (
    CONTINUE,
    KEEPALIVE,
    OPENING,
    OWNER,
    Connection,
    Rig,
    node,
    read_all,
    settle,
    terminals,
    words,
)
from tests.strategies import streams

pytestmark = pytest.mark.anyio

BAD = "bad"
"""The text that the defective view cannot take."""


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only such connections can be written to together."""
    monkeypatch.setattr(Connection, "offers_direct", True)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often views of the chat shape and of text were asked to fold and to encode."""
    counts = Counter[str]()

    def counted(kind: type, method: str) -> None:
        original = getattr(kind, method)

        def count(view: Any, what: Any) -> Any:
            counts[method] += 1
            return original(view, what)

        monkeypatch.setattr(kind, method, count)

    for name in ("openai.chat", "text"):
        for method in ("fold", "encode"):
            counted(type(DIALECTS[name].view("")), method)
    return counts


class Audience:
    """Readers of one stream of a running engine."""

    tasks: anyio.abc.TaskGroup

    def __init__(self, rig: Rig, stream_id: str) -> None:
        self.rig = rig
        self.readers: list[Reader] = []
        self.connections: list[Connection] = []
        self.problems: list[ExceptionGroup] = []
        self.stream_id = stream_id

    async def join(self, *formats: str) -> None:
        """One more of each of these; returns when they have caught up."""
        for name in formats:
            dialect = DIALECTS[name]
            at = start_of(dialect, "")
            reader = Reader(await self.rig.engine.subscribe(self.stream_id, OWNER), dialect, at)
            framing = SSE(ids=at.prefix, quote=name == "text")
            connection = Connection()
            self.readers.append(reader)
            self.connections.append(connection)
            response = StreamResponse(reader, framing, self.rig.heartbeats, headers={})
            self.tasks.start_soon(self._serve, connection, response)
        await settle()

    async def _serve(self, connection: Connection, response: StreamResponse) -> None:
        try:
            await connection.serve(response)
        except ExceptionGroup as problem:
            self.problems.append(problem)

    async def say(self, *texts: str) -> None:
        """Each in a read of its own."""
        for text in texts:
            self.rig.call.say(words(text))
            await settle()

    @property
    def directly(self) -> list[int]:
        return [connection.directly for connection in self.connections]

    async def all_got(self, name: str) -> None:
        """Each body is clean and what an uninterrupted read from the log gives."""
        whole = Connection()
        whole.extensions.clear()
        await whole.serve(self.rig.streamed(await self.rig.engine.subscribe(self.stream_id, OWNER), name))
        assert whole.clean
        for connection in self.connections:
            assert connection.clean
            assert connection.body == whole.body


async def audience(rig: Rig) -> Audience:
    """Of a stream that has begun to speak; its first reader has gone."""
    started = await rig.start(CONTINUE)
    started.subscription.close()
    rig.call.say([OPENING])
    await settle()
    return Audience(rig, started.stream_id)


async def test_readers_of_one_view_share_one_fold_and_one_encoding(work: Counter[str]) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join(*["openai.chat"] * 5)
                work.clear()
                await here.say(*"abcdef")
                assert work == {"fold": 6, "encode": 6}
                assert here.directly == [6] * 5
                await here.join("text", "text")
                work.clear()
                await here.say(*"ghi")
                assert work == {"fold": 6, "encode": 6}  # once for each of two views
                del here.connections[5:]
                rig.call.finish()
            await here.all_got("openai.chat")


@pytest.mark.promise("P4", "P23")
async def test_a_reader_that_does_not_take_what_it_was_written_leaves_and_comes_back() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join(*["openai.chat"] * 3)
                slow = here.connections[1]
                slow.stall()
                await here.say(*"abcde")
                assert here.directly == [5, 1, 5]  # the one that it did not take
                slow.resume()
                await settle()
                await here.say(*"fg")
                assert here.directly == [7, 3, 7]
                rig.call.finish()
            await here.all_got("openai.chat")


@pytest.mark.promise("P4", "P5")
@pytest.mark.parametrize("alone", [True, False])
async def test_who_leaves_in_the_middle_of_a_long_batch_writes_the_rest_of_it_by_itself(*, alone: bool) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join("openai.chat", "openai.chat")
                if not alone:  # then all that comes in one turn, the end too, is one batch
                    await here.join("native")
                here.connections[0].stall()
                rig.call.say(words(*(letter * 100_000 for letter in "abcde")))
                rig.call.finish()
                await settle()
                assert here.directly[:2] == [1, 6 if alone else 5]
                here.connections[0].resume()
                del here.connections[2:]
            await here.all_got("openai.chat")


@pytest.mark.promise("P4")
async def test_who_leaves_takes_a_view_that_nobody_else_moves_on() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join("openai.chat", "openai.chat")
                first, last = here.readers
                view = first.view
                here.connections[0].stall()
                await here.say("a")
                assert first.view is not view
                here.connections[1].stall()
                await here.say("b", "c")
                assert last.view is view  # nobody is left who would need it
                assert not first.subscription.shared
                for connection in here.connections:
                    connection.resume()
                await here.say("d")
                rig.call.finish()
            await here.all_got("openai.chat")


async def test_more_readers_than_one_turn_should_serve_are_several_broadcasts(work: Counter[str]) -> None:
    with anyio.fail_after(20):
        async with node(max_readers_per_stream=1000) as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join(*["openai.chat"] * 64)
                work.clear()
                await here.say("a")
                assert work == {"fold": 1, "encode": 1}
                await here.join(*["openai.chat"] * 66)
                work.clear()
                await here.say("b")
                assert work == {"fold": 3, "encode": 3}
                assert here.directly == [2] * 64 + [1] * 66
                rig.call.finish()
            await here.all_got("openai.chat")


@pytest.mark.promise("P3", "P9")
async def test_the_end_ends_every_body_and_leaves_nothing_that_is_shared() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join("openai.chat", "openai.chat", "openai.chat")
                here.connections[2].stall()
                rig.call.say(words("a"), words("b"))
                rig.call.finish()
                await settle()
                assert not here.readers[0].subscription.shared
                assert [connection.clean for connection in here.connections] == [True, True, False]
                here.connections[2].resume()
            await here.all_got("openai.chat")


@pytest.mark.promise("P5")
async def test_a_deleted_stream_aborts_every_body() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join("openai.chat", "openai.chat", "text")
                await here.say("a")
                await rig.store.delete(here.stream_id)
                await settle()
                assert all(connection.aborted for connection in here.connections)
                assert not here.readers[0].subscription.shared
                rig.clock.advance(rig.config.lease_seconds)
            assert here.problems == []


@pytest.mark.promise("P2")
async def test_a_reader_that_goes_takes_nothing_from_the_others_and_the_last_leaves_nothing(
    work: Counter[str],
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join(*["openai.chat"] * 3)
                here.connections[0].gone.set()  # it began the broadcast
                await settle()
                await here.say("a", "b")
                assert here.directly == [0, 2, 2]
                for connection in here.connections[1:]:
                    connection.gone.set()
                await settle()
                work.clear()
                await here.say("c")
                assert work == {}
                here.connections.clear()
                await here.join("openai.chat")
                await here.say("d")
                assert here.directly == [1]
                rig.call.finish()
            await here.all_got("openai.chat")


@pytest.mark.promise("P23")
async def test_who_is_written_to_together_with_others_still_holds_the_upstream_up() -> None:
    with anyio.fail_after(5):
        async with node(backpressure="pause", pause_lag=5, pause_timeout=1000.0) as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join("openai.chat", "openai.chat", "text")
                rig.call.say(*[words("a")] * 40)
                await settle()
                assert rig.call.steps.empty()  # they follow
                here.connections[1].stall()
                rig.call.say(*[words("b")] * 40)
                await settle()
                assert 20 < rig.call.steps.qsize() < 40
                here.connections[1].resume()
                await settle()
                assert rig.call.steps.empty()
                del here.connections[2]
                rig.call.finish()
            await here.all_got("openai.chat")


@pytest.mark.promise("P2", "P3")
async def test_a_defect_in_a_view_is_its_readers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(DIALECTS["text"].view(""))
    fold = kind.fold

    def broken(view: Any, record: Record) -> Any:
        if any(isinstance(event, TextDelta) and event.text == BAD for event in record.events):
            raise ZeroDivisionError
        return fold(view, record)

    with anyio.fail_after(5):
        async with node() as rig:
            here = await audience(rig)
            async with anyio.create_task_group() as here.tasks:
                await here.join("text", "openai.chat", "text", "openai.chat")
                monkeypatch.setattr(kind, "fold", broken)
                await here.say("a", BAD, "b")
                assert len(here.problems) == 2
                for problem in here.problems:
                    assert problem.subgroup(ZeroDivisionError) is not None
                assert [connection.returned for connection in here.connections] == [False] * 4
                rig.call.finish()
            assert not here.connections[0].clean and not here.connections[2].clean
            del here.connections[0], here.connections[1]
            await here.all_got("openai.chat")
            log = await read_all(await rig.engine.subscribe(here.stream_id, OWNER))
            assert [type(end) for end in terminals(log)] == [Finished]


VIEWS: dict[str, tuple[str, str, Framing]] = {
    "native": ("native", "", SSE(ids="n1.")),
    "chat": ("openai.chat", "", SSE(ids="c1.")),
    "chat without ids": ("openai.chat", "", SSE()),
    "chat with usage": ("openai.chat", "u", NDJSON()),
    "responses": ("openai.responses", "", SSE(ids="r1.")),
    "text": ("text", "", SSE(ids="t1.", quote=True)),
    "bytes": ("text", "", PlainText()),
}
READERS = 5
STEPS = st.lists(
    st.tuples(st.just("write"), st.integers(1, 4))
    | st.tuples(st.sampled_from(["stall", "resume", "join"]), st.integers(0, READERS - 1))
    | st.tuples(st.just("pass"), st.integers(1, 12)),
    max_size=40,
)


class Play:
    """One stream that is written while several read it, some of them badly; no engine."""

    def __init__(self, records: Sequence[Record], views: Sequence[str], tasks: anyio.abc.TaskGroup) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(now=self.clock.wall)
        self.heartbeats = Heartbeats(self.clock, KEEPALIVE, write_timeout=1e9)
        self.shared: dict[object, object] = {}
        self.connections = [Connection() for _ in views]
        self._records = records
        self._views = views
        self._joined: set[int] = set()
        self._tasks = tasks
        self._done = 0

    async def open(self) -> None:
        self._lease = await self.store.acquire("s", OWNER, b"", 1e9)
        self._tasks.start_soon(self.heartbeats.run)

    def response(self, view: str) -> StreamResponse:
        name, params, framing = VIEWS[view]
        dialect = DIALECTS[name]
        subscription = Subscription(self.store, "s", lambda: None, shared=self.shared)
        reader = Reader(subscription, dialect, start_of(dialect, params))
        return StreamResponse(reader, framing, self.heartbeats, headers={})

    async def do(self, what: str, number: int) -> None:
        """One step; nobody is let run to the end of what it wants, except for as many turns as were drawn."""
        if what == "write":
            self.write(number)
        elif what == "join":
            self.join(number)
        elif what == "stall":
            self.connections[number].stall()
        elif what == "resume":
            self.connections[number].resume()
        else:
            if number == 12:
                self.clock.advance(KEEPALIVE / 8)
            for _ in range(number):
                await asyncio.sleep(0)

    def write(self, size: int) -> None:
        end = min(self._done + size, len(self._records) - 1)
        if end > self._done:
            assert self.store.append_now(self._lease, self._done, self._records[self._done : end])
        self._done = end

    def join(self, number: int) -> None:
        if number not in self._joined:
            self._joined.add(number)
            self._tasks.start_soon(self.connections[number].serve, self.response(self._views[number]))

    async def finish(self) -> None:
        self.write(len(self._records))
        await self.store.finish(self._lease, self._records[-1])
        for number, connection in enumerate(self.connections):
            self.join(number)
            connection.resume()
        await settle()


@pytest.mark.promise("P4", "P23")
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=streams(),
    views=st.lists(st.sampled_from(sorted(VIEWS)), min_size=READERS, max_size=READERS),
    steps=STEPS,
)
async def test_whoever_stalls_and_whenever_every_body_is_one_uninterrupted_read(
    records: list[Record], views: list[str], steps: list[tuple[str, int]]
) -> None:
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            play = Play(records, views, tasks)
            await play.open()
            for what, number in steps:
                await play.do(what, number)
            await play.finish()
            for view, connection in zip(views, play.connections, strict=True):
                assert connection.returned
                whole = Connection()
                whole.extensions.clear()
                await whole.serve(play.response(view))
                framing = VIEWS[view][2]
                got = b"".join(write for write in connection.writes if write != framing.heartbeat)
                assert (got, connection.clean) == (whole.body, whole.clean)
            assert not play.shared
            tasks.cancel_scope.cancel()
