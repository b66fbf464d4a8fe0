"""An answer that is handed on as it arrives: when, in what order, and how it ends. No socket: a test is the line."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import tracemalloc
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.codecs.http_response import ProtocolError
from headrace.errors import UpstreamIncomplete, UpstreamProtocol
from headrace.providers.http import Reply
from tests.servers.scripted import END, chunk, head

pytestmark = pytest.mark.anyio
AT_ONCE = 16 * 1024
"""Bytes that are consumed before others have their turn."""
Pending = Coroutine[Any, Any, None] | None


class Line:
    """The connection's place: what it was told last."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def begun(**headers: str) -> tuple[Reply, Line]:
    """An answer whose head has arrived."""
    line = Line()
    reply = Reply(line)
    reply.take(head(200, "text/event-stream", **headers))
    return reply, line


async def feed_all(reply: Reply, consume: Callable[[bytes], Pending]) -> None:
    with anyio.fail_after(5):
        while await reply.feed(consume):
            pass


async def blocked() -> None:
    """Return once every other task waits."""
    await anyio.wait_all_tasks_blocked()


# Reads


async def test_each_read_is_handed_on_in_its_own_turn():
    reply, line = begun()
    got: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, got.append)
        await blocked()
        for number, data in enumerate((b"one", b"two", b"three")):
            reply.take(chunk(data))
            assert got[number:] == [data]  # no other task has run
            assert not line.paused
        reply.take(END)
    assert reply.complete and reply.reusable


async def test_a_read_without_content_is_not_handed_on():
    reply, _ = begun()
    got: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, got.append)
        for piece in (b"", b"3", b"\r\n", b"ab", b"c", b"\r", b"\n0\r\n", b"\r\n"):
            await blocked()
            reply.take(piece)
    assert got == [b"ab", b"c"]


@pytest.mark.promise("P23")
async def test_the_server_is_not_read_from_while_something_is_waited_for():
    reply, line = begun()
    gate = anyio.Event()
    got: list[bytes] = []

    def consume(data: bytes) -> Pending:
        got.append(data)
        return gate.wait() if data == b"two" else None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, consume)
        await blocked()
        reply.take(chunk(b"one"))
        assert not line.paused
        reply.take(chunk(b"two"))
        assert line.paused
        reply.take(chunk(b"three"))  # was on its way
        await blocked()
        assert line.paused and got == [b"one", b"two"]
        reply.take(chunk(b"four"))
        await blocked()
        assert line.paused and got == [b"one", b"two"]
        gate.set()
        await blocked()
        assert not line.paused and got == [b"one", b"two", b"threefour"]
        reply.take(chunk(b"five"))
        assert got[-1] == b"five"
        reply.take(END)


async def test_what_arrived_before_anybody_asked_comes_first_and_may_be_waited_for_too():
    reply, _ = begun()
    gate = anyio.Event()
    got: list[bytes] = []

    def consume(data: bytes) -> Pending:
        got.append(data)
        return gate.wait() if len(got) == 1 else None

    reply.take(chunk(b"one"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, consume)
        await blocked()
        reply.take(chunk(b"two"))
        await blocked()
        assert got == [b"one"]
        gate.set()
        await blocked()
        assert got == [b"one", b"two"]
        reply.take(END)


@pytest.mark.parametrize("waits", [False, True], ids=["nobody waits for it", "somebody waits for it"])
async def test_a_large_read_is_handed_on_in_slices_with_others_running_in_between(waits: bool):
    reply, _ = begun()
    body = bytes(range(256)) * 1000
    turns = 0
    got: list[bytes] = []
    seen: list[int] = []

    async def other() -> None:
        nonlocal turns
        while not reply.complete or sum(map(len, got)) < len(body):
            turns += 1
            await anyio.lowlevel.checkpoint()

    def consume(data: bytes) -> None:
        got.append(data)
        seen.append(turns)

    async with anyio.create_task_group() as tasks:
        if waits:
            tasks.start_soon(feed_all, reply, consume)
            await blocked()
        tasks.start_soon(other)
        reply.take(chunk(body) + END)
        if not waits:
            tasks.start_soon(feed_all, reply, consume)
    assert b"".join(got) == body
    assert max(map(len, got)) <= AT_ONCE
    assert seen == sorted(set(seen))  # each slice in another turn


@pytest.mark.promise("P23")
async def test_a_server_that_sends_more_than_is_taken_has_to_wait():
    reply, line = begun()
    for _ in range(4):
        reply.take(chunk(b"x" * 64 * 1024))
    assert not line.paused
    reply.take(chunk(b"x"))
    assert line.paused
    got: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, got.append)
        await blocked()
        assert not line.paused
        reply.take(END)
    assert sum(map(len, got)) == 4 * 64 * 1024 + 1


@settings(max_examples=100)
@given(
    reads=st.lists(st.tuples(st.sampled_from([1, 2, 100, 16384, 16385, 50_000]), st.integers(0, 2)), max_size=12),
    waits=st.lists(st.booleans(), max_size=30),
    early=st.integers(0, 3),
)
@example(reads=[(1, 0), (1, 1), (50_000, 0), (1, 1)], waits=[True, True], early=0)
async def test_nothing_is_lost_or_comes_in_another_order(reads: list[tuple[int, int]], waits: list[bool], early: int):
    """Reads of any size, with turns of the event loop between them; some of what is consumed has to be waited for."""
    reply, _ = begun()
    got: list[bytes] = []
    left = iter(waits)

    def consume(data: bytes) -> Pending:
        got.append(data)
        return anyio.lowlevel.checkpoint() if next(left, False) else None

    sent = [bytes([65 + number]) * size for number, (size, _) in enumerate(reads)]
    async with anyio.create_task_group() as tasks:
        for number, (data, (_, turns)) in enumerate(zip(sent, reads, strict=True)):
            if number == early:
                tasks.start_soon(feed_all, reply, consume)
            reply.take(chunk(data))
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
        reply.take(END)
        if len(reads) <= early:
            tasks.start_soon(feed_all, reply, consume)
    assert b"".join(got) == b"".join(sent)
    assert max(map(len, got), default=0) <= AT_ONCE


# Ends


@pytest.mark.parametrize("problem", [ValueError("no"), TimeoutError("late"), ProtocolError("odd")], ids=repr)
@pytest.mark.parametrize("waits", [False, True], ids=["nobody waits for it", "somebody waits for it"])
async def test_what_the_consumer_raises_is_raised_as_it_is(problem: Exception, waits: bool):
    reply, line = begun()

    def consume(data: bytes) -> None:
        raise problem

    async def feed() -> None:
        with pytest.raises(type(problem)) as caught:
            await feed_all(reply, consume)
        assert caught.value is problem

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            if waits:
                tasks.start_soon(feed)
                await blocked()
            reply.take(chunk(b"one"))
            assert line.paused == waits
            if not waits:
                tasks.start_soon(feed)


async def test_what_is_waited_for_may_raise_too():
    reply, _ = begun()

    async def refuse() -> None:
        raise ValueError("no")

    async def feed() -> None:
        with pytest.raises(ValueError, match="no"):
            await reply.feed(lambda data: refuse())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed)
            await blocked()
            reply.take(chunk(b"one"))


@pytest.mark.promise("P6")
@pytest.mark.parametrize("how", [None, ConnectionResetError("reset")], ids=["closed", "reset"])
@pytest.mark.parametrize("waits", [False, True], ids=["nobody waits for it", "somebody waits for it"])
async def test_a_cut_is_told_after_all_that_arrived(how: Exception | None, waits: bool):
    reply, _ = begun()
    got: list[bytes] = []

    async def feed() -> None:
        with pytest.raises(UpstreamIncomplete):
            await feed_all(reply, got.append)

    async with anyio.create_task_group() as tasks:
        if waits:
            tasks.start_soon(feed)
            await blocked()
        reply.take(chunk(b"one"))
        reply.take(b"ff\r\ntwo")
        reply.lost(how)
        if not waits:
            tasks.start_soon(feed)
    assert b"".join(got) == b"onetwo"
    assert not reply.reusable


@pytest.mark.promise("P6")
async def test_a_body_until_the_connections_end_is_whole_there():
    reply, _ = begun(connection="close")
    got: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, got.append)
        await blocked()
        reply.take(b"one")
        reply.lost(None)
    assert got == [b"one"]
    assert reply.complete and not reply.reusable


async def test_what_is_no_http_is_told_after_all_that_arrived():
    reply, line = begun()
    got: list[bytes] = []

    async def feed() -> None:
        with pytest.raises(UpstreamProtocol, match="not valid HTTP"):
            await feed_all(reply, got.append)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed)
        await blocked()
        reply.take(chunk(b"one"))
        reply.take(b"zz\r\n")
        assert line.paused
    assert got == [b"one"]
    assert not reply.reusable


@pytest.mark.promise("P7")
async def test_a_cancel_in_the_turn_of_a_read_closes_what_would_have_been_waited_for():
    reply, _ = begun()
    ran: list[bytes] = []
    made: list[Coroutine[Any, Any, None]] = []

    async def work(data: bytes) -> None:
        ran.append(data)

    def consume(data: bytes) -> Pending:
        made.append(work(data))
        return made[-1]

    task = asyncio.get_running_loop().create_task(feed_all(reply, consume))
    await blocked()
    reply.take(chunk(b"one"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ran
    assert [inspect.getcoroutinestate(each) for each in made] == [inspect.CORO_CLOSED]
    reply.take(chunk(b"two"))  # nobody consumes any more
    assert len(made) == 1


@pytest.mark.promise("P7")
async def test_a_cancel_reaches_what_is_waited_for():
    reply, _ = begun()
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, lambda data: work())
        await blocked()
        reply.take(chunk(b"one"))
        await blocked()
        tasks.cancel_scope.cancel()
    assert ended == ["cancelled"]


# Compressed bodies

TEXT = b"".join(b"data: %d\n\n" % number for number in range(20_000))


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]
)
@pytest.mark.parametrize("size", [1, 1000, 10**6])
async def test_a_compressed_body_is_handed_on_as_it_was(encoding: str, pack: Callable[[bytes], bytes], size: int):
    text = TEXT[:1000] if size == 1 else TEXT
    packed = pack(text)
    reply, _ = begun(content_encoding=encoding)
    got: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, got.append)
        for begin in range(0, len(packed), size):
            await blocked()
            reply.take(chunk(packed[begin : begin + size]))
        reply.take(END)
    assert b"".join(got) == text
    assert max(map(len, got)) <= AT_ONCE


@pytest.mark.promise("P16")
@pytest.mark.parametrize("size", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE, 3 * AT_ONCE + 258])
async def test_all_that_a_compressing_server_flushed_is_handed_on_before_it_sends_more(size: int):
    reply, _ = begun(content_encoding="gzip")
    packer = zlib.compressobj(wbits=31)
    got: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_all, reply, got.append)
        for number in range(1, 4):
            reply.take(chunk(packer.compress(b"x" * size) + packer.flush(zlib.Z_SYNC_FLUSH)))
            await blocked()
            assert sum(map(len, got)) == number * size
        reply.take(chunk(packer.flush()) + END)


@pytest.mark.promise("P16")
@pytest.mark.parametrize("fed", [False, True], ids=["read", "fed"])
async def test_a_bomb_is_unpacked_only_as_far_as_it_is_read(fed: bool):
    bomb = gzip.compress(bytes(50_000_000))
    reply, _ = begun(content_encoding="gzip")
    got: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        reply.take(chunk(bomb))
        for _ in range(10):
            if fed:
                assert await reply.feed(lambda data: got.append(len(data)))
            else:
                got.append(len(await reply.read()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 2_000_000
    assert 0 < max(got) <= (AT_ONCE if fed else 256 * 1024)


@pytest.mark.promise("P16")
@pytest.mark.parametrize("fed", [False, True], ids=["read", "fed"])
async def test_what_follows_a_compressed_body_is_ignored(fed: bool):
    reply, _ = begun(content_encoding="gzip")
    reply.take(chunk(gzip.compress(b"one") + b"garbage") + chunk(b"more") + END)
    got: list[bytes] = []
    if fed:
        await feed_all(reply, got.append)
    else:
        got.append(await reply.read_all(100))
    assert got == [b"one"]


@pytest.mark.promise("P16")
@pytest.mark.parametrize("fed", [False, True], ids=["read", "fed"])
async def test_what_cannot_be_decompressed_is_a_protocol_error_and_stays_one(fed: bool):
    packer = zlib.compressobj(wbits=31)
    reply, _ = begun(content_encoding="gzip")
    got: list[bytes] = []

    async def ask() -> None:
        if fed:
            await feed_all(reply, got.append)
        else:
            while data := await reply.read():
                got.append(data)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def fail_twice() -> None:
                for _ in range(2):
                    with pytest.raises(UpstreamProtocol, match="cannot be decompressed"):
                        await ask()

            tasks.start_soon(fail_twice)
            await blocked()
            reply.take(chunk(packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)))
            await blocked()
            reply.take(chunk(b"\xff" * 100) + END)
    assert got == [b"one"]
    assert not reply.reusable


@pytest.mark.promise("P16")
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
@pytest.mark.parametrize("fed", [False, True], ids=["read", "fed"])
async def test_a_compression_that_nobody_asked_for_and_nobody_knows_is_a_protocol_error(encoding: str, fed: bool):
    reply = Reply(Line())
    reply.take(head(content_encoding=encoding) + chunk(b"x") + END)
    await reply.head()
    assert reply.status == 200
    with pytest.raises(UpstreamProtocol, match="not asked for"):
        await (reply.feed(lambda data: None) if fed else reply.read())
    assert not reply.reusable
