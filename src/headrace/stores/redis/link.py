"""One connection to one server, made when it is needed and made anew when it is lost."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

import hiredis

from headrace.config.redis_url import RedisAddress
from headrace.errors import StoreError
from headrace.stores.redis.connection import Argument, Connection, Disconnected, Reply
from headrace.stores.redis.refusals import (
    OLDEST,
    Misconfigured,
    closed,
    is_stale,
    refusal,
    refusal_of_greeting,
    silent,
    too_old,
    unreachable,
)

log = logging.getLogger("headrace.stores")

PATIENCE = 5.0
"""Seconds for a connection, and for a reply: longer than a failover's silence must not look like one."""

_AGAIN = 0.5
"""Seconds after a failed attempt in which everybody who asks is told the same: they must not queue up to try."""


class Link:
    """A connection that is there when it is asked for, with what it has to listen to."""

    def __init__(
        self, address: RedisAddress, told: Callable[[str, bytes], None], *, patience: float = PATIENCE
    ) -> None:
        """Nothing is opened yet. `told` gets what is said on the channels."""
        self.name = address.name
        self.mode = ""
        """`standalone` or `cluster`, once a connection has stood."""
        self._address = address
        self._told = told
        self._patience = patience
        self._channels: dict[str, None] = {}
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._problem: StoreError | None = None
        self._problem_until = 0.0
        self._closed = False

    async def call(self, *command: Argument) -> Reply:
        """Carry out a command: it must be one that may be carried out twice.

        Raises:
            StoreError: the server cannot be reached, or refused; `Moved` where another one has the key.
        """
        for _ in range(2):
            try:
                reply = await (await self.connected()).send(*command)
            except Disconnected as end:
                if end.silent:  # and so it would be over another connection
                    raise silent(self.name) from None
                continue  # perhaps it had been idle for too long: the next one is new
            if type(reply) is hiredis.ReplyError:
                raise self._refused(reply)
            return reply
        raise unreachable(self.name, "it hangs up, or does not answer")

    async def ask(self, *command: Argument) -> Reply:
        """A command for a key that is just moving here."""
        try:
            connection = await self.connected()
            connection.send("ASKING")
            reply = await connection.send(*command)
        except Disconnected:
            raise unreachable(self.name, "it hangs up, or does not answer") from None
        if type(reply) is hiredis.ReplyError:
            raise self._refused(reply)
        return reply

    def _refused(self, reply: hiredis.ReplyError) -> Exception:
        if is_stale(reply) and self._connection is not None:
            self._connection.close()
        error = refusal(reply, self.name)
        if type(error) is StoreError:  # nobody looks out for these, and its caller is not told
            log.error("%s", error)
        return error

    def listen(self, channel: str) -> None:
        """Be told what is said on a channel from now on, also over a new connection; `connected` begins it."""
        self._channels[channel] = None
        if self._connection is not None and self._connection.open:
            self._subscribe(self._connection, channel)

    def ignore(self, channel: str) -> None:
        """Do not be told any more."""
        if self._channels.pop(channel, 0) is None and self._connection is not None and self._connection.open:
            self._connection.subscribe(channel, on=False)

    def listens(self, channel: str) -> bool:
        """Whether what is said there is heard, as far as is known."""
        return channel in self._channels and self._connection is not None and self._connection.open

    def _subscribe(self, connection: Connection, channel: str) -> None:
        def subscribed(future: asyncio.Future[Reply]) -> None:
            if not future.cancelled() and (future.exception() or isinstance(future.result(), hiredis.ReplyError)):
                self._channels.pop(channel, None)

        connection.subscribe(channel).add_done_callback(subscribed)

    async def connected(self) -> Connection:
        """The connection. Raises `StoreError`."""
        connection = self._connection
        if connection is not None and connection.open:
            return connection
        async with self._opening:
            connection = self._connection
            if connection is not None and connection.open:
                return connection
            loop = asyncio.get_running_loop()
            if self._closed:
                raise closed(self.name)
            if self._problem is not None and loop.time() < self._problem_until:
                raise self._problem.with_traceback(None)
            try:
                connection = await self._open(loop)
            except StoreError as error:
                self._problem, self._problem_until = error, loop.time() + _AGAIN
                raise
            if self._closed:  # meanwhile
                connection.close()
                raise closed(self.name)
            self._connection, self._problem = connection, None
            for channel in self._channels:
                self._subscribe(connection, channel)
            return connection

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Connection:
        def make() -> Connection:
            return Connection(
                patience=self._patience,
                told=self._told,
                unsubscribed=lambda channel: self._channels.pop(channel, None),
            )

        address = self._address
        try:
            async with asyncio.timeout(self._patience):
                if address.path:
                    _, connection = await loop.create_unix_connection(make, address.path)
                else:
                    context = tls_context(address) if address.tls else None
                    _, connection = await loop.create_connection(make, address.host, address.port, ssl=context)
        except TimeoutError:
            what = "TLS connection: perhaps it speaks none" if address.tls else "connection"
            raise unreachable(self.name, f"within {self._patience:g} s no {what}") from None
        except ssl.SSLCertVerificationError as error:
            text = f"Redis at {self.name} shows a certificate that is not trusted ({error.verify_message}): add"
            raise Misconfigured(f"{text} ?ssl_ca_certs=FILE or ?ssl_cert_reqs=none to redis_url.") from None
        except ssl.SSLError:
            raise Misconfigured(f"Redis at {self.name} speaks no TLS: write redis:// instead of rediss://.") from None
        except OSError as error:
            raise unreachable(self.name, error.strerror or type(error).__name__) from None
        try:
            await self._greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        """Log in, see that the server is what we need, choose the database."""
        address = self._address
        hello: list[Argument] = ["HELLO", "3"]
        if address.password is not None:
            hello += ["AUTH", address.username or "default", address.password.reveal()]
        try:
            said: Any = await connection.send(*hello, "SETNAME", "headrace")
            if isinstance(said, hiredis.ReplyError):
                raise refusal_of_greeting(said, self.name)
            version = said[b"version"].decode()
            if int(version.partition(".")[0]) < OLDEST:
                raise too_old(self.name, version)
            self.mode = said[b"mode"].decode()
            chosen = await connection.send("SELECT", address.db) if address.db else None
        except Disconnected:
            raise unreachable(self.name, "it hangs up, does not answer, or does not speak Redis' protocol") from None
        except (KeyError, TypeError, ValueError):
            raise unreachable(self.name, "it does not speak Redis' protocol") from None
        if isinstance(chosen, hiredis.ReplyError):
            raise Misconfigured(f"Redis at {self.name} has no database {address.db}: correct redis_url.")

    def close(self) -> None:
        """For good."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()


def tls_context(address: RedisAddress) -> ssl.SSLContext:
    """What the address asks for. Raises `Misconfigured` where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
        if not address.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if address.cert_file is not None:
            context.load_cert_chain(address.cert_file, address.key_file)
    except OSError:  # ssl.SSLError is one
        raise Misconfigured("A certificate or key that redis_url names cannot be read.") from None
    return context
