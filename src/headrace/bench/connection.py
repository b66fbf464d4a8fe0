"""The sockets of the load tester: one connection, and those of one server."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Final, cast

from headrace.bench.exchange import Exchange
from headrace.bench.target import Target

clock = time.perf_counter
"""The one clock of all measurements: monotonic, in seconds."""

# How long the end of a body may come after its terminal event before the connection is given up.
_LINGER_S: Final = 1.0
# Idle connections are used again for less than this: uvicorn and Node, the most used servers, close them after 5 s, and
# a request that crosses such a close would be a failure of nobody's.
_IDLE_S: Final = 4.0


class Connection(asyncio.Protocol):
    """One connection to a server; it carries one exchange at a time."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._exchange: Exchange | None = None
        self._over: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Take the time first: everything in this read arrived by now."""
        now = clock()
        exchange = self._exchange
        if exchange is None:
            self._transport.abort()  # an idle connection has nothing to say
            return
        exchange.take(now, data)
        if exchange.outcome is not None:
            self._wind_up(exchange)

    def eof_received(self) -> bool:
        """The server will send no more; the transport then closes."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._exchange is not None:
            self._exchange.closed(clock(), exc)
            self._release()

    @property
    def usable(self) -> bool:
        """Whether it is open and has not been idle for long."""
        return not self._transport.is_closing() and clock() - self.idle_since < _IDLE_S

    async def carry(self, exchange: Exchange, request: bytes) -> None:
        """Send the request and return when the exchange is over; a cancel closes the connection."""
        self._exchange = exchange
        self._over = asyncio.get_running_loop().create_future()
        exchange.sent = True
        self._transport.write(request)
        try:
            await self._over
        except asyncio.CancelledError:
            self._exchange = None
            self._transport.abort()
            raise

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _wind_up(self, exchange: Exchange) -> None:
        """The outcome is known; the rest of the body is only waited for, and not for long."""
        if exchange.over:
            if not exchange.reusable:
                self._transport.abort()
            self._release()
        elif self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def _release(self) -> None:
        self._exchange = None
        self.idle_since = clock()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


class Pool:
    """The connections to one server. Each takes requests one after the other; a free one is used before a new one."""

    def __init__(self, target: Target, *, keep_alive: bool = True, insecure: bool = False) -> None:
        self.opened = 0
        """How many connections have been made."""
        self._target = target
        self._keep_alive = keep_alive
        self._tls = tls_context(insecure) if target.tls else None
        self._idle: list[Connection] = []

    async def carry(self, exchange: Exchange, request: bytes) -> None:
        """Carry out one exchange on a connection; without one, that is its outcome."""
        try:
            connection = self._free() or await self._connect()
        except OSError as error:
            exchange.no_connection(clock(), error)
            return
        await connection.carry(exchange, request)
        if self._keep_alive and exchange.reusable:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _free(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        target = self._target
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection,
            target.address or target.host,
            target.port,
            ssl=self._tls,
            server_hostname=target.host if self._tls else None,
        )
        self.opened += 1
        return connection


def tls_context(insecure: bool) -> ssl.SSLContext:
    """How servers are trusted: by the system's certificates, or without any."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
