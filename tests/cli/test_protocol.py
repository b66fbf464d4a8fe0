"""uvicorn's protocol with ours on top, on a real socket: what an abort does, and to whom; writes without messages."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from headrace.cli.listening import bind
from headrace.cli.protocol import AbortableProtocol
from headrace.transports.connection import ABORT, DIRECT, Direct

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P23")]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PIECE = b"x" * 10_000
PIECES = 1000
"""So many are more than the kernel takes for a reader that does not read."""


class Protocol(AbortableProtocol):
    """Tells what it is told."""

    held: int
    """What the server held when it was told to wait."""
    closing: asyncio.Event
    writable: asyncio.Event

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writable.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.held = self.transport.get_write_buffer_size()

    def eof_received(self) -> None:
        super().eof_received()
        self.closing.set()


class Site:
    """A server whose application sends a large body, and holds what it was offered."""

    def __init__(self) -> None:
        self.aborts: list[Any] = []
        self.returned = asyncio.Event()
        self.freed = asyncio.Event()
        self.closing = asyncio.Event()
        """Set when a client has closed its direction: uvicorn closes its own once everything is written."""
        self.writable = asyncio.Event()
        """Set when a client has taken what kept the server waiting."""
        self.protocols: list[weakref.ref[Protocol]] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.aborts.append(scope["extensions"][ABORT])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.returned.set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[tuple[str, int]]:
        config = uvicorn.Config(self.app, interface="asgi3", proxy_headers=False, log_config=None)
        state = ServerState()

        def protocol() -> Protocol:
            made = Protocol(config, state, {})
            made.closing, made.writable = self.closing, self.writable
            self.protocols.append(weakref.ref(made, lambda _: self.freed.set()))
            return made

        (listener,) = bind("127.0.0.1", 0)
        server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
        async with server:
            yield listener.getsockname()


class Answer:
    """One that stays open until it is told to end."""

    def __init__(self, direct: Direct) -> None:
        self.direct = direct
        self.end = asyncio.Event()


class Open(Site):
    """A server whose answers the test writes."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Queue[Answer]()
        """Those whose head is sent."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        answer = Answer(scope["extensions"][DIRECT])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.answers.put_nowait(answer)
        await answer.end.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextlib.asynccontextmanager
async def asking(
    address: tuple[str, int], request: bytes = REQUEST
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that has read the head of its answer."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def body(reader: asyncio.StreamReader) -> bytes:
    """All of it."""
    chunks = [await reader.readuntil(b"\r\n") + await reader.readexactly(len(PIECE) + 2) for _ in range(PIECES)]
    return b"".join(chunk[-2 - len(PIECE) : -2] for chunk in chunks)


async def test_an_abort_resets_the_connection_at_once_though_its_reader_does_not_read() -> None:
    site = Site()
    async with asyncio.timeout(20), site.listening() as address, asking(address) as (reader, _):
        assert not site.returned.is_set()
        site.aborts[0]()
        await site.returned.wait()
        with pytest.raises(ConnectionResetError):  # closed, it would get all that the kernel has, and then an end
            await reader.read()


async def test_an_abort_resets_a_client_that_had_said_its_last_too() -> None:
    site = Site()
    async with asyncio.timeout(20), site.listening() as address, asking(address) as (reader, writer):
        writer.write_eof()
        await site.closing.wait()
        site.aborts[0]()
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_an_abort_of_a_connection_that_is_gone_hits_no_other() -> None:
    site = Site()
    async with asyncio.timeout(20), site.listening() as address:
        async with asking(address):
            pass
        await site.returned.wait()
        async with asking(address) as (reader, _):  # has the same descriptor in the server
            site.aborts[0]()
            assert await body(reader) == PIECE * PIECES


async def test_what_waits_for_a_reader_in_the_server_is_the_last_write_alone() -> None:
    site = Site()
    async with asyncio.timeout(20), site.listening() as address, asking(address) as (reader, _):
        protocol = site.protocols[0]()
        assert protocol is not None
        assert await body(reader) == PIECE * PIECES
        await site.returned.wait()
        assert 0 < protocol.held <= len(b"2710\r\n\r\n") + len(PIECE)


async def test_a_connection_that_is_gone_leaves_nothing_to_the_garbage_collector() -> None:
    site = Site()
    gc.disable()
    try:
        async with asyncio.timeout(20), site.listening() as address:
            async with asking(address):
                pass
            await site.returned.wait()
            site.aborts.clear()
            await site.freed.wait()
    finally:
        gc.enable()


async def test_what_is_written_directly_is_a_chunk_of_the_body() -> None:
    site = Open()
    async with asyncio.timeout(20), site.listening() as address, asking(address) as (reader, _):
        answer = await site.answers.get()
        assert answer.direct.write(b"one")
        assert answer.direct.write(b"and " * 5)
        answer.end.set()
        expected = b"3\r\none\r\n" + b"14\r\n" + b"and " * 5 + b"\r\n" + b"0\r\n\r\n"
        assert await reader.readexactly(len(expected)) == expected


async def test_a_client_that_does_not_read_pauses_its_answer_until_it_has() -> None:
    site = Open()
    async with asyncio.timeout(20), site.listening() as address, asking(address) as (reader, _):
        answer = await site.answers.get()
        pieces = 1
        while answer.direct.write(PIECE):
            assert not answer.direct.paused
            pieces += 1
        assert answer.direct.paused
        for _ in range(pieces):
            await reader.readuntil(b"\r\n")
            assert await reader.readexactly(len(PIECE) + 2) == PIECE + b"\r\n"
        await site.writable.wait()
        assert not answer.direct.paused
        assert answer.direct.write(b"x")
        assert await reader.readuntil(b"x\r\n") == b"1\r\nx\r\n"
        answer.end.set()


@pytest.mark.promise("P2")
async def test_whoever_watches_is_called_once_when_the_client_goes_and_nothing_is_written_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Open()
    async with asyncio.timeout(20), site.listening() as address:
        gone = asyncio.Queue[str]()
        async with asking(address):
            answer = await site.answers.get()
            assert answer.direct.watch(lambda: gone.put_nowait("first"))
            assert gone.empty()
        assert await gone.get() == "first"
        for _ in range(10):
            assert answer.direct.write(PIECE)  # nobody needs to wait
        assert answer.direct.watch(lambda: gone.put_nowait("late"))
        assert gone.get_nowait() == "late"
        assert gone.empty()
        answer.end.set()
    assert caplog.messages == []


async def test_a_request_that_has_not_all_arrived_is_not_watched() -> None:
    site = Open()
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    async with asyncio.timeout(20), site.listening() as address:
        gone = asyncio.Event()
        async with asking(address, request + b"four") as (reader, writer):
            answer = await site.answers.get()
            assert not answer.direct.watch(gone.set)
            writer.write(b"fives")
            while not answer.direct.watch(gone.set):  # noqa: ASYNC110 - the server tells nobody but the answer
                await asyncio.sleep(0)
            assert answer.direct.write(b"x")
            await reader.readuntil(b"x\r\n")
        await gone.wait()
        answer.end.set()


async def test_an_answer_is_forgotten_when_the_next_request_comes_on_its_connection() -> None:
    site = Open()
    gc.disable()
    try:
        async with asyncio.timeout(20), site.listening() as address, asking(address) as (reader, writer):
            answer = await site.answers.get()
            first = weakref.ref(answer.direct._request)  # pyright: ignore
            answer.end.set()
            assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
            del answer
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            answer = await site.answers.get()
            assert first() is None
            assert answer.direct.write(b"second")
            answer.end.set()
            assert await reader.readuntil(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"
    finally:
        gc.enable()


async def test_requests_that_come_together_are_written_to_one_after_the_other() -> None:
    site = Open()
    async with asyncio.timeout(20), site.listening() as address, asking(address, REQUEST * 3) as (reader, _):
        for number in range(3):
            answer = await site.answers.get()
            assert site.answers.empty()
            if number:
                await reader.readuntil(b"\r\n\r\n")
            assert answer.direct.write(b"%d" % number)
            answer.end.set()
            assert await reader.readuntil(b"0\r\n\r\n") == b"1\r\n%d\r\n0\r\n\r\n" % number
