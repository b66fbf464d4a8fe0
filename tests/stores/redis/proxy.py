"""A way to a server that breaks when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import cast

from tests.stores.redis.servers import Server


class Proxy:
    """Carries bytes between stores and a server."""

    def __init__(self, server: Server) -> None:
        self.url = ""
        self.server = server
        """Where new connections go."""
        self.lost = 0
        """Replies that were lost."""
        self._losing = False
        self._open: set[asyncio.Transport] = set()

    def lose_next_reply(self) -> None:
        """Let the next command through, and cut its connection instead of bringing the reply."""
        self._losing = True

    def lead_to(self, server: Server) -> None:
        """Another server is behind the address from now on."""
        self.server = server
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for transport in tuple(self._open):
            transport.abort()

    def _carries(self) -> bool:
        if not self._losing:
            return True
        self._losing = False
        self.lost += 1
        return False


class _End(asyncio.Protocol):
    """One end of a connection; what it gets goes out at the other."""

    def __init__(self, proxy: Proxy, *, replies: bool) -> None:
        self.proxy = proxy
        self.replies = replies
        self.other: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.proxy._open.add(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        elif self.replies and not self.proxy._carries():
            self.other.abort()
            assert self.transport is not None
            self.transport.abort()
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.proxy._open.discard(self.transport)
        if self.other is not None:
            self.other.abort()


@contextlib.asynccontextmanager
async def proxying(server: Server) -> AsyncGenerator[Proxy]:
    """A proxy in front of a server."""
    loop = asyncio.get_running_loop()
    proxy = Proxy(server)
    tasks: set[asyncio.Task[None]] = set()

    def accept() -> _End:
        client = _End(proxy, replies=False)

        async def join() -> None:
            _, end = await loop.create_unix_connection(lambda: _End(proxy, replies=True), proxy.server.path)
            assert client.transport is not None and end.transport is not None
            end.other, client.other = client.transport, end.transport
            for data in client.early:
                end.transport.write(data)

        tasks.add(loop.create_task(join()))
        return client

    listener = await loop.create_server(accept, "127.0.0.1", 0)
    proxy.url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        await asyncio.gather(*tasks)
        proxy.cut()
        await asyncio.sleep(0)
