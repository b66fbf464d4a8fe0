"""uvicorn's protocol with ours on top, on a real socket: what an abort does, and to whom."""

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
from headrace.transports.connection import ABORT

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
            made.closing = self.closing
            self.protocols.append(weakref.ref(made, lambda _: self.freed.set()))
            return made

        (listener,) = bind("127.0.0.1", 0)
        server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
        async with server:
            yield listener.getsockname()


@contextlib.asynccontextmanager
async def asking(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that has read the head of its answer."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(REQUEST)
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
