"""The connections to one model server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import aiohappyeyeballs

from headrace.providers.http.connection import Connection

# Long enough that most turns of a conversation find their connection open, short of the 75 s after which nginx, and
# the minutes after which load balancers, drop an idle one. A server that closes earlier is noticed when it does.
_KEEPALIVE_SECONDS = 60.0
_DNS_CACHE_SECONDS = 60.0
# RFC 8305 5: how long an address may take before the next one is tried beside it.
_EYEBALLS_SECONDS = 0.25

_Addresses = list[tuple[Any, ...]]


class Pool:
    """Opens connections and keeps those that are idle. Belongs to one event loop."""

    def __init__(self, host: str, port: int, *, tls: bool) -> None:
        """Nothing is opened yet."""
        self._host = host
        self._port = port
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._idle: list[Connection] = []
        self._addresses: tuple[float, _Addresses] = (0.0, [])
        self._sweep: asyncio.TimerHandle | None = None

    def take(self) -> Connection | None:
        """The connection that was used last, of those that are idle."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _KEEPALIVE_SECONDS:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: Connection) -> None:
        """It is idle; `Connection.release` was true."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_KEEPALIVE_SECONDS, self._drop_old)

    def _drop_old(self) -> None:
        """Close what has been idle for long: nobody may ask for years."""
        loop = asyncio.get_running_loop()
        self._sweep = None
        oldest = loop.time() - _KEEPALIVE_SECONDS
        for connection in [each for each in self._idle if each.idle_since <= oldest]:
            connection.abort()
        left = [each for each in self._idle if each.idle_since > oldest]
        if left:
            self._sweep = loop.call_at(left[0].idle_since + _KEEPALIVE_SECONDS, self._drop_old)

    async def connect(self) -> Connection:
        """Open a connection, to whichever of the server's addresses answers first.

        Raises:
            OSError: it cannot be reached; `socket.gaierror` when it has no address, `ssl.SSLError` when it cannot be
                trusted.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType]
                await self._resolve(), happy_eyeballs_delay=_EYEBALLS_SECONDS, loop=loop
            )
        except OSError:
            self._addresses = (0.0, [])  # they may have moved
            raise
        if self._tls and self._context is None:
            self._context = _tls_context()
        _, connection = await loop.create_connection(
            lambda: Connection(self._forget),
            sock=found,
            ssl=self._context,
            server_hostname=self._host if self._tls else None,
        )
        return connection

    async def close(self) -> None:
        """Close every idle connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._idle):
            await connection.cut()

    def _forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    async def _resolve(self) -> _Addresses:
        loop = asyncio.get_running_loop()
        until, addresses = self._addresses
        if loop.time() >= until:
            addresses = list(await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
            self._addresses = (loop.time() + _DNS_CACHE_SECONDS, addresses)
        return addresses


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
