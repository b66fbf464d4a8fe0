"""What is over a limit is refused in words that name the limit, and what is taken is given back whatever happens."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from headrace import errors
from headrace.engine.clock import FakeClock
from headrace.engine.limits import RunningStreams
from headrace.engine.readers import Readers
from headrace.errors import Overloaded, RateLimited
from headrace.events import Failed
from tests.engine.rig import CANCEL, OPENING, OWNER, Rig, marker, memory_store, node, read_all, settle, terminals, words

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P24")]


async def _finish(rig: Rig, stream_id: str) -> None:
    rig.call.finish()


async def _marker_while_the_upstream_lingers(rig: Rig, stream_id: str) -> None:
    rig.call.say(marker())


async def _fail(rig: Rig, stream_id: str) -> None:
    rig.call.fail(errors.UpstreamIncomplete("x"))


async def _defect(rig: Rig, stream_id: str) -> None:
    rig.call.fail(ZeroDivisionError())


async def _cancel(rig: Rig, stream_id: str) -> None:
    await rig.engine.cancel(stream_id, OWNER)


async def _delete(rig: Rig, stream_id: str) -> None:
    await rig.engine.delete(stream_id, OWNER)


async def _deleted_elsewhere(rig: Rig, stream_id: str) -> None:
    await rig.store.delete(stream_id)
    rig.call.say(words("a"))


async def _deadline(rig: Rig, stream_id: str) -> None:
    rig.clock.advance(86_400)


async def _log_full(rig: Rig, stream_id: str) -> None:
    rig.call.say(words("x" * 20_000))


ENDINGS = [
    _finish,
    _marker_while_the_upstream_lingers,
    _fail,
    _defect,
    _cancel,
    _delete,
    _deleted_elsewhere,
    _deadline,
    _log_full,
]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_a_slot_is_free_again_however_its_stream_ended(end: Callable[[Rig, str], Awaitable[None]]) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock, max_stream_bytes=10_000)
        async with node(store, clock, max_running_per_key=1) as rig:
            started = await rig.start()
            rig.call.say([OPENING])
            await settle()
            with pytest.raises(RateLimited):
                await rig.start()
            await end(rig, started.stream_id)
            await settle()
            again = await rig.start()
            started.subscription.close()
            rig.clock.advance(5)  # as long as a lingering upstream may take
            rig.provider.call(1).finish()
            await read_all(again.subscription)
            rig.call.stop()


async def test_over_its_running_streams_a_key_is_told_what_to_do_and_others_are_served() -> None:
    with anyio.fail_after(5):
        async with node(max_running_per_key=2) as rig:
            started = [await rig.start(), await rig.start()]
            with pytest.raises(RateLimited, match="max_running_per_key") as caught:
                await rig.start()
            assert (caught.value.status, caught.value.error_code, caught.value.may_retry) == (
                429,
                "too_many_streams",
                True,
            )
            assert caught.value.retry_after
            started.append(await rig.start(owner="another"))
            await settle()
            assert rig.provider.asked == 3
            for index, each in enumerate(started):
                rig.provider.call(index).finish()
                await read_all(each.subscription)


async def test_joining_by_idempotency_key_needs_no_slot_and_a_refusal_keeps_no_key() -> None:
    with anyio.fail_after(5):
        async with node(max_running_per_key=1) as rig:
            started = await rig.start(key="a")
            joined = await rig.start(key="a")
            assert joined.replayed
            joined.subscription.close()
            with pytest.raises(RateLimited):
                await rig.start(key="b")
            rig.call.finish()
            await read_all(started.subscription)
            other = await rig.start(key="b")
            assert not other.replayed
            rig.provider.call(1).finish()
            await read_all(other.subscription)


async def test_a_stream_that_could_not_be_opened_keeps_no_slot() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        async with node(memory_store(clock, max_bytes=1), clock, max_running_per_key=1) as rig:
            for _ in range(3):
                with pytest.raises(Overloaded, match="max_log_bytes"):
                    await rig.start()


async def test_one_reader_too_many_is_refused_and_a_place_is_free_when_one_leaves() -> None:
    with anyio.fail_after(5):
        async with node(max_readers_per_stream=2) as rig:
            started = await rig.start(CANCEL)
            second = await rig.engine.subscribe(started.stream_id, OWNER)
            with pytest.raises(Overloaded, match="max_readers_per_stream") as caught:
                await rig.engine.subscribe(started.stream_id, OWNER)
            assert (caught.value.status, caught.value.error_code) == (503, "too_many_readers")
            assert caught.value.retry_after
            assert rig.engine.readers(started.stream_id) == 2
            second.close()
            third = await rig.engine.subscribe(started.stream_id, OWNER)
            rig.call.say([OPENING])
            rig.call.finish()
            assert await read_all(started.subscription) == await read_all(third)


@pytest.mark.parametrize(
    ("limits", "key"), [({"max_stream_bytes": 2000}, "max_stream_log_bytes"), ({"max_bytes": 4000}, "max_log_bytes")]
)
async def test_a_full_log_names_its_limit(limits: dict[str, int], key: str) -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        async with node(memory_store(clock, **limits), clock, retries=2) as rig:
            started = await rig.start()
            rig.call.say([OPENING], *([chunk] for chunk in words(*["x" * 100] * 50)))
            (terminal,) = terminals(await read_all(started.subscription))
            assert isinstance(terminal, Failed)
            assert terminal.code == "log_full" and f"({key})" in terminal.message
            assert rig.provider.asked == 1


def test_a_slot_that_is_freed_twice_is_one_slot() -> None:
    running = RunningStreams(2)
    first = running.take("a")
    running.take("a")
    first.free()
    first.free()
    running.take("a")
    with pytest.raises(RateLimited):
        running.take("a")


def test_nothing_is_kept_of_who_has_left() -> None:
    readers = Readers(1)
    readers.enter("s")
    readers.leave("s")
    assert (len(readers), readers.of("s")) == (0, 0)
