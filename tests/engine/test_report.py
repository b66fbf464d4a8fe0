"""Every stream's end is told exactly once, however it came about, with what there was; nothing runs on after it."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest

from headrace.bodies import Body
from headrace.engine.clock import FakeClock
from headrace.engine.engine import Load
from headrace.engine.observer import Content, Ended, Observer, Source
from headrace.engine.outcomes import outcome
from headrace.errors import Fenced, Overloaded, StoreError, UpstreamUnavailable
from headrace.events import Failed, Finished, Record, Usage
from headrace.stores.base import Lease, StreamInfo
from tests.engine.rig import (
    CANCEL,
    CONTINUE,
    OPENING,
    OWNER,
    REQUEST_ID,
    SOURCE,
    Rig,
    marker,
    node,
    read_all,
    relays,
    settle,
    words,
)
from tests.stores.waiting import WaitingStore

pytestmark = pytest.mark.anyio

NOTHING = Load(0, 0, 0, 0)


async def finished(rig: Rig, stream_id: str) -> None:
    rig.call.finish("length")


async def failed(rig: Rig, stream_id: str) -> None:
    rig.call.fail(UpstreamUnavailable("Down."))


async def defect(rig: Rig, stream_id: str) -> None:
    rig.call.fail(ZeroDivisionError())


async def silent(rig: Rig, stream_id: str) -> None:
    rig.clock.advance(rig.config.total_timeout + 1)


async def cancelled(rig: Rig, stream_id: str) -> None:
    await rig.engine.cancel(stream_id, OWNER)


async def left(rig: Rig, stream_id: str) -> None:
    """With the policy that stops it then."""


async def deleted(rig: Rig, stream_id: str) -> None:
    await rig.engine.delete(stream_id, OWNER)


async def deleted_elsewhere(rig: Rig, stream_id: str) -> None:
    await rig.store.delete(stream_id)
    rig.clock.advance(rig.config.lease_seconds)


async def fenced(rig: Rig, stream_id: str) -> None:
    relays(rig.engine)[stream_id].fail(Fenced("x"))


async def drained(rig: Rig, stream_id: str) -> None:
    cut = anyio.Event()
    cut.set()
    await rig.engine.drain(0, cut)


ENDS: list[tuple[Callable[..., Any], str, str]] = [
    (finished, "finished", "length"),
    (failed, "failed", "upstream_unavailable"),
    (defect, "failed", "internal_error"),
    (silent, "failed", "upstream_total_timeout"),
    (cancelled, "cancelled", "client"),
    (left, "cancelled", "disconnect"),
    (deleted, "cancelled", "client"),
    (deleted_elsewhere, "failed", "not_found"),
    (fenced, "failed", "fenced"),
    (drained, "failed", "server_shutdown"),
]


@pytest.mark.promise("P24", "P26")
@pytest.mark.parametrize("says", [False, True], ids=["before content", "after content"])
@pytest.mark.parametrize(("end", "state", "code"), ENDS, ids=[row[0].__name__ for row in ENDS])
async def test_every_end_is_told_once_and_nothing_runs_on(
    end: Callable[..., Any], state: str, code: str, says: bool
) -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start(CANCEL if end is left else CONTINUE)
            rig.call.say([OPENING])
            await settle()
            assert rig.engine.load == Load(1, 1, 1, 1)
            rig.clock.advance(2)
            if says:
                rig.call.say(words("a"))
            await settle()
            if end is left:
                started.subscription.close()
            await end(rig, started.stream_id)
            started.subscription.close()
            await settle()
            assert rig.engine.load == NOTHING
            (told,) = rig.witness.ends
            assert outcome(told.terminal) == (state, code)
            assert told.ttft == (2 if says else None)
            assert (told.start.id, told.request_id, told.upstream_model) == (
                started.stream_id,
                REQUEST_ID,
                "upstream-model",
            )
            assert told.usage.source == ("provider" if end is finished else "partial")
            # Of a log that is gone nothing can be counted.
            assert (told.usage.output > 0) == (end is finished or (says and end is not deleted_elsewhere))


async def test_an_end_says_what_there_was() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.clock.advance(3)
            rig.call.say([OPENING, *words("a", "b")])
            await settle()
            rig.clock.advance(4)
            rig.call.finish(usage=Usage(3, 5, 1, 2))
            log = await read_all(started.subscription)
            info = await rig.store.status(started.stream_id)
        (told,) = rig.witness.ends
        assert told == Ended(
            start=log[0].events[0],  # pyright: ignore[reportArgumentType]
            source=SOURCE,
            upstream_model="upstream-model",
            request_id=REQUEST_ID,
            terminal=Finished("stop"),
            at=rig.clock.wall(),
            duration=7,
            ttft=3,
            usage=Usage(3, 5, 1, 2),
            retries=0,
            readers=1,
            resumes=0,
            records=len(log),
            bytes=info.bytes,
        )


@pytest.mark.promise("P3", "P26")
async def test_a_stream_that_runs_when_the_server_stops_is_told() -> None:
    with anyio.fail_after(5):
        async with node(drain=False) as rig:
            started = await rig.start()
            rig.call.say([OPENING, *words("a")])
            await settle()
            started.subscription.close()
        (told,) = rig.witness.ends
        assert outcome(told.terminal) == ("failed", "server_shutdown")


class SlowStore(WaitingStore):
    """Its `acquire` waits for the test."""

    gate = anyio.Event()

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        await self.gate.wait()
        return await super().acquire(stream_id, owner, request, ttl)


@pytest.mark.promise("P11", "P26")
async def test_a_stream_that_a_drain_refused_after_it_was_made_is_told() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = SlowStore(now=clock.wall)
        store.gate = anyio.Event()
        async with node(store, clock) as rig, anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(Overloaded):
                    await rig.start(key="k")

            tasks.start_soon(ask)
            await settle()
            await rig.engine.drain(25)
            store.gate.set()
            await settle()
            assert rig.engine.load == NOTHING
            (told,) = rig.witness.ends
            assert outcome(told.terminal) == ("failed", "overloaded")
            assert (told.readers, told.ttft) == (0, None)


async def test_what_a_provider_takes_to_hand_back_its_connection_is_not_the_streams() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.clock.advance(1)
            rig.call.say([OPENING, *words("a")], marker())
            await settle()
            ended_at = rig.clock.wall()
            await read_all(started.subscription)
            rig.clock.advance(4)
            await settle()
            assert rig.witness.ends == [] and rig.engine.load == Load(1, 1, 0, 0)
            rig.call.stop()
            await settle()
            (told,) = rig.witness.ends
            assert (told.duration, told.at) == (1, ended_at)


async def test_readers_and_resumes_count_until_the_end() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = await rig.start()
            rig.call.say([OPENING, *words("a")])
            await settle()
            for _ in range(3):
                again = await rig.engine.subscribe(started.stream_id, OWNER)
                again.resumed()
                again.close()
            (await rig.engine.subscribe(started.stream_id, OWNER)).close()
            rig.call.say(marker())
            await settle()
            late = await rig.engine.subscribe(started.stream_id, OWNER)  # while the provider still closes
            late.resumed()
            rig.call.stop()
            await read_all(started.subscription)
            await settle()
            later = await rig.engine.subscribe(started.stream_id, OWNER)
            later.resumed()
            assert rig.engine.load == Load(0, 0, 2, 0)
            for subscription in (late, later):
                subscription.close()
        (told,) = rig.witness.ends
        assert (told.readers, told.resumes) == (5, 3)
        assert rig.witness.resumes == 5


async def test_one_stream_of_many_callers_is_told_once() -> None:
    with anyio.fail_after(5):
        async with node() as rig:
            started = [await rig.start(key="k") for _ in range(4)]
            rig.call.say([OPENING])
            rig.call.finish()
            for each in started:
                await read_all(each.subscription)
        (told,) = rig.witness.ends
        assert (told.readers, told.resumes) == (4, 0)


class Broken(Observer):
    """Fails at everything."""

    def first_content(self, source: Source, ttft: float) -> None:
        raise ZeroDivisionError("first_content")

    def content(self, source: Source, gaps: Sequence[float], at_once: int) -> None:
        raise ZeroDivisionError("content")

    def upstream_closed(self, source: Source, seconds: float) -> None:
        raise ZeroDivisionError("upstream_closed")

    def resumed(self) -> None:
        raise ZeroDivisionError("resumed")

    def ended(self, stream: Ended) -> None:
        raise ZeroDivisionError("ended")


@pytest.mark.promise("P3")
async def test_an_observer_that_fails_harms_no_stream_and_no_other_observer(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(5):
        async with node(observers=[Broken()]) as rig:
            started = await rig.start()
            rig.call.say([OPENING, *words("a", "b")])
            started.subscription.resumed()
            rig.call.finish()
            assert isinstance((await read_all(started.subscription))[-1].terminal, Finished)
            stopped = await rig.start()
            rig.provider.call(1).say([OPENING, *words("a")])
            await settle()
            assert await rig.engine.cancel(stopped.stream_id, OWNER)
            stopped.subscription.close()
            assert rig.engine.accepting
        witness = rig.witness
        assert len(witness.ttfts) == 2 and witness.gaps == [0] and witness.closings == [0]
        assert witness.resumes == 1 and len(witness.ends) == 2
    failures = [record for record in caplog.records if record.message == "Broken failed"]
    assert {str(record.exc_info[1]) for record in failures if record.exc_info} == {
        "first_content",
        "content",
        "upstream_closed",
        "resumed",
        "ended",
    }


class FailingStore(WaitingStore):
    """Fails where it is told to."""

    failing = ""
    error: Exception = StoreError("out of reach")

    async def finish(self, lease: Lease, record: Record) -> None:
        if self.failing == "finish":
            raise self.error
        await super().finish(lease, record)

    async def status(self, stream_id: str) -> StreamInfo:
        if self.failing == "status":
            raise self.error
        return await super().status(stream_id)

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        if self.failing == "read":
            raise self.error
        return await super().read(stream_id, after, limit)

    async def request(self, stream_id: str) -> Body:
        if self.failing == "request":
            raise self.error
        return await super().request(stream_id)


@pytest.mark.promise("P3", "P27")
@pytest.mark.parametrize("error", [StoreError("out of reach"), ZeroDivisionError()])
@pytest.mark.parametrize("failing", ["finish", "status", "request", "read"])
async def test_an_end_is_told_although_the_store_fails(
    failing: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = FailingStore(now=clock.wall)
        store.error = error
        async with node(store, clock, log_content=True) as rig:
            started = await rig.start()
            started.subscription.close()
            rig.call.say([OPENING, *words("a", "b")])
            await settle()
            store.failing = failing
            rig.call.finish()
            await settle()
            assert rig.engine.load == NOTHING and rig.engine.accepting
            (told,) = rig.witness.ends
            if failing == "finish":
                assert isinstance(told.terminal, Failed)
            else:
                assert told.terminal == Finished("stop")
                assert (told.bytes, told.content) == (None, None)
            assert told.usage.output > 0
    if isinstance(error, StoreError) and failing != "finish":
        assert "WARNING" in caplog.text and "Traceback" not in caplog.text
    else:
        assert "ERROR" in caplog.text


async def test_a_log_that_was_deleted_has_no_size_and_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(5):
        async with node(log_content=True) as rig:
            started = await rig.start()
            started.subscription.close()
            rig.call.say([OPENING, *words("a")])
            await settle()
            await deleted_elsewhere(rig, started.stream_id)
            await settle()
            (told,) = rig.witness.ends
            assert (told.records, told.bytes, told.content) == (3, None, None)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.promise("P36")
@pytest.mark.parametrize("log_content", [False, True])
async def test_observers_get_what_was_said_only_where_it_may_be_logged(log_content: bool) -> None:
    with anyio.fail_after(5):
        async with node(log_content=log_content) as rig:
            started = await rig.start(body=b'{"q": "?"}')
            rig.call.say([OPENING, *words("a", "b")])
            rig.call.finish()
            await read_all(started.subscription)
        (told,) = rig.witness.ends
        assert told.content == (Content(b'{"q": "?"}', "ab") if log_content else None)
