"""One streaming POST to a model server, over aiohttp.

How a request that nobody wants any more leaves: aiohttp closes its connection with `transport.close()`, which first
writes what is still to be written, and the socket is closed in a later turn of the event loop. A server that does not
read its request would never notice, and one that does would notice after the cancel was answered. So a connection
that cannot go back to the pool is aborted here, and whoever leaves waits until its socket is closed (P7).

aiohttp tells which connection a request got only once the answer has begun (`ClientResponse.connection`). Before that
the connector is the one who knows: `_Connector.connect` overrides a public method and notes what it returns.
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar

import aiohttp
import anyio
import anyio.lowlevel
import msgspec
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.tracing import Trace

from headrace import __version__
from headrace.errors import (
    HeadraceError,
    UpstreamIncomplete,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from headrace.providers.redaction import Redactor
from headrace.providers.refusals import Refusal, complaint_of, error_of, not_a_stream

log = logging.getLogger("headrace.providers")

EVENT_STREAM = "text/event-stream"
JSON = "application/json"

# Long enough that most turns of a conversation find their connection open, short of the 75 s after which nginx, and
# the minutes after which load balancers, drop an idle one. A server that closes earlier is noticed when it does.
_KEEPALIVE_SECONDS = 60.0
_DNS_CACHE_SECONDS = 60
# A server that is slower than this gains nothing from a connection that is there a moment earlier.
_WARM_UP_SECONDS = 1.0
_ERROR_BODY_BYTES = 64 * 1024
_WRITE_BYTES = 64 * 1024
# A server that stops in the middle of its error must not hold the caller's.
_ERROR_BODY_SECONDS = 5.0
# Characters of a refusal that one line of the log may have.
_LONGEST_WORDS = 1000
_BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError)
_LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider's connections are like."""

    base_url: str
    """The final address, without a slash at its end."""
    headers: tuple[tuple[str, str], ...] = ()
    """Everything that identifies us; a caller's headers never get here (P34)."""
    connect_timeout: float = 10.0
    """Seconds for name resolution, TCP and TLS together."""
    drain_seconds: float = 1.0
    """How long the rest of a finished body is waited for, so that its connection can be used again."""
    log_content: bool = False
    """Whether a refusal's own words are logged: some repeat there what they were asked (P36)."""


class _Line:
    """The connection of one request: to be cut, and to be asked whether it is lost."""

    def __init__(self, connection: Connection) -> None:
        self._transport = connection.transport
        protocol = connection.protocol
        # None when `connection_lost` has run already; the same future for all requests of one connection.
        self._lost: asyncio.Future[None] | None = None if protocol is None else protocol.closed
        self.reused = False
        """Whether an earlier request had this connection."""
        if self._lost is not None:
            self.reused = self._lost.remove_done_callback(_seen) > 0
            self._lost.add_done_callback(_seen)

    async def cut(self) -> None:
        """Close the socket, with unsent bytes dropped, and return once it is closed. Not to be interrupted."""
        if self._transport is None or self._lost is None:
            return
        self._transport.abort()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._lost])

    def watch(self, callback: Callable[[asyncio.Future[None]], None]) -> None:
        """Call back in the turn after the connection was lost, when aiohttp has done what it does about that."""
        if self._lost is not None:
            self._lost.add_done_callback(callback)

    def unwatch(self, callback: Callable[[asyncio.Future[None]], None]) -> None:
        """Forget the callback: the connection goes on to other requests."""
        if self._lost is not None:
            self._lost.remove_done_callback(callback)


def _seen(lost: asyncio.Future[None]) -> None:
    """Take note of how a connection ended, or asyncio complains that nobody did."""
    if not lost.cancelled():
        lost.exception()


_line: ContextVar[_Line | None] = ContextVar("line", default=None)


class _Connector(aiohttp.TCPConnector):
    """Notes which connection a request got, in the context of the task that asked for it."""

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        """Take a connection from the pool or open one: see aiohttp."""
        connection = await super().connect(req, traces, timeout)
        _line.set(_Line(connection))
        return connection


class Reply:
    """An answer whose body is arriving."""

    def __init__(self, response: aiohttp.ClientResponse, line: _Line | None) -> None:
        self._response = response
        self._line = line
        self._broken: Exception | None = None
        if line is not None:
            line.watch(self._connection_lost)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up without regard to case."""
        return self._response.headers

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty at the end.

        Raises:
            UpstreamIncomplete: the body was cut off. What had arrived is returned first.
            UpstreamProtocol: the body is not HTTP.
        """
        if self._broken is None:
            try:
                return await self._response.content.readany()
            except _BROKEN as problem:
                self._broken = problem
                if rest := self._arrived_before(problem):
                    return rest
        if isinstance(self._broken, HttpProcessingError):
            raise UpstreamProtocol("The model server's answer is not valid HTTP.") from self._broken
        raise UpstreamIncomplete(
            "The model server closed the connection in the middle of its answer."
        ) from self._broken

    def _connection_lost(self, _: asyncio.Future[None]) -> None:
        """End a read that aiohttp would let wait for ever: it does not tell the body of a malformed chunk."""
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(HttpProcessingError(message="malformed body"))

    def _arrived_before(self, problem: Exception) -> bytes:
        """The bytes in aiohttp's buffer: once it has an error, it gives the error only."""
        content = self._response.content
        content.set_exception(None)  # pyright: ignore[reportArgumentType]
        try:
            return content.read_nowait()
        finally:
            content.set_exception(problem)

    async def read_all(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            UpstreamProtocol: it is longer than `limit`.
            UpstreamIncomplete: as `read`.
        """
        body = bytearray()
        while data := await self.read():
            body += data
            if len(body) > limit:
                raise UpstreamProtocol(f"The model server's answer is longer than {limit} bytes.")
        return bytes(body)

    async def read_error(self) -> Refusal:
        """The start of an error body, as much as there is in a few seconds."""
        body = bytearray()
        with anyio.move_on_after(_ERROR_BODY_SECONDS):
            try:
                while (data := await self.read()) and len(body) < _ERROR_BODY_BYTES:
                    body += data
            except HeadraceError:
                log.debug("an error body broke off")
        return Refusal(self.status, self.headers, bytes(body[:_ERROR_BODY_BYTES]))

    async def drain(self, seconds: float) -> None:
        """Read the rest, which nobody needs, so that the connection can be used again. Failures change nothing."""
        with anyio.move_on_after(seconds):
            try:
                while await self.read():
                    pass
            except HeadraceError as problem:
                log.debug("after the end of an answer: %s", problem)

    async def close(self) -> None:
        """Cut the connection, unless the whole body was read: aiohttp then took it back to the pool."""
        if self._line is not None:
            self._line.unwatch(self._connection_lost)
        if self._response.connection is None:
            return
        if self._line is not None:
            await self._line.cut()
        self._response.close()


class Upstream:
    """The connections to one model server. Belongs to one event loop."""

    def __init__(self, settings: HttpSettings, redactor: Redactor, wall: Callable[[], float] = time.time) -> None:
        """`wall` is Unix time, for a `Retry-After` that is a date."""
        self.settings = settings
        self._redactor = redactor
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open a connection ahead with a HEAD of the base address, whatever it answers.

        Takes a second at most, and never fails: start several in one task group. No credential is sent.
        """
        session = self._open()
        with anyio.move_on_after(min(self.settings.connect_timeout, _WARM_UP_SECONDS)):
            try:
                async with session.head(self.settings.base_url, allow_redirects=False):
                    pass
            except _BROKEN as problem:
                log.debug("%s: not reached at start-up: %s", self.settings.base_url, self._redactor.text(str(problem)))
            finally:
                _line.set(None)  # this task lives as long as the process, and so would what it holds

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def post(self, path: str, body: bytes | Sequence[bytes], accept: str) -> AsyncGenerator[Reply, None]:
        """Send `body`, in one piece or in several, and give the answer, a 200 with content of the type `accept`.

        Leaving the context, also by cancellation, closes the connection's socket before it returns, unless the body
        was read to its end.

        Raises:
            UpstreamUnavailable: unreachable, or closed before it answered.
            UpstreamTimeout: `upstream_connect_timeout`.
            HeadraceError: what `refusals` makes of any other answer.
        """
        reply = await self._send(path, body, accept)
        try:
            await self._check(reply, accept)
            yield reply
        finally:
            await reply.close()

    async def _send(self, path: str, body: bytes | Sequence[bytes], accept: str, *, again: bool = True) -> Reply:
        """Ask; once more where a connection from the pool turned out to be closed.

        A server may close an idle connection at the very moment at which it is used again (llama.cpp does so after
        each stream, without saying it), and then has not read the request (RFC 9112 9.3.1, 9.5).
        """
        _line.set(None)
        length = {} if isinstance(body, bytes) else {"Content-Length": str(sum(map(len, body)))}
        try:
            response = await self._open().post(
                self.settings.base_url + path,
                # As a file: aiohttp writes it in pieces, and lets others run in between.
                data=io.BytesIO(body) if isinstance(body, bytes) else _gathered(body),
                headers={"Content-Type": JSON, "Accept": accept, **length, **dict(self.settings.headers)},
                allow_redirects=False,
            )
            return Reply(response, _line.get())
        except BaseException as problem:
            line = _line.get()
            if line is not None:
                await line.cut()
                if again and line.reused and isinstance(problem, _LOST):
                    return await self._send(path, body, accept, again=False)
            if isinstance(problem, _BROKEN):
                self._note(problem)
                raise _unreachable(problem) from problem
            raise
        finally:
            _line.set(None)

    async def _check(self, reply: Reply, accept: str) -> None:
        """Raise for everything but a 200 of the expected type; a server that names no type is trusted."""
        if (
            reply.status == 200
            and reply.headers.get("content-type", accept).partition(";")[0].strip().lower() == accept
        ):
            return
        refusal = await reply.read_error()
        if refusal.status == 200:
            raise self._redactor.error(not_a_stream(refusal, accept, self._wall()))
        if refusal.status in (401, 403, 404):
            self._note_refusal(refusal)
        if 300 <= refusal.status < 400:
            target = self._redactor.text(refusal.headers.get("location", "nowhere"))
            log.warning("%s answered %d, a redirect to %s", self.settings.base_url, refusal.status, target)
        raise self._redactor.error(error_of(refusal, self._wall()))

    def _note_refusal(self, refusal: Refusal) -> None:
        """What is wrong between the two servers is for the operator's log, whatever the caller is told."""
        said = f"answered {refusal.status} ({complaint_of(refusal).code or 'no code'})"
        if self.settings.log_content:
            said += ": " + refusal.body.decode("utf-8", "replace")
        log.warning("%s %s", self.settings.base_url, self._redactor.text(said)[:_LONGEST_WORDS])

    def _note(self, problem: BaseException) -> None:
        """The address is for the operator's log, not for the caller."""
        log.warning("%s: %s", self.settings.base_url, self._redactor.text(str(problem) or repr(problem)))

    def _open(self) -> aiohttp.ClientSession:
        """The session, made on first use because aiohttp wants a running loop for it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(
                    limit=0,  # streams are limited where they begin (P24); waiting here would look like a slow model
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                    ttl_dns_cache=_DNS_CACHE_SECONDS,
                ),
                # `connect` and not `sock_connect`, which leaves out name resolution and counts per address.
                timeout=aiohttp.ClientTimeout(total=None, connect=self.settings.connect_timeout),
                headers={"User-Agent": f"headrace/{__version__}", "Accept-Encoding": "identity"},
                # One caller's cookie must not come back with another's request.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _gathered(pieces: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces that are worth a write."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _WRITE_BYTES:
            yield bytes(gathered)
            gathered.clear()
            await anyio.lowlevel.checkpoint()  # a socket that takes everything suspends nobody
    yield bytes(gathered)


def _unreachable(problem: BaseException) -> HeadraceError:
    """Why there was no answer at all, in words that show nothing of the operator's network."""
    match problem:
        case TimeoutError():
            text = "The model server could not be connected to in time."
            return UpstreamTimeout(text, code="upstream_connect_timeout")
        case aiohttp.ClientResponseError():
            return UpstreamProtocol("The model server's answer is not valid HTTP: check base_url.", retryable=False)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return UpstreamUnavailable("The model server cannot be trusted: TLS failed.", retryable=False)
        case aiohttp.ClientConnectorDNSError():
            return UpstreamUnavailable("The model server cannot be found: its name has no address.")
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return UpstreamUnavailable("The model server refused the connection: it may not be running.")
        case aiohttp.ClientConnectorError():
            return UpstreamUnavailable("The model server cannot be reached.")
        case _:
            return UpstreamUnavailable("The model server closed the connection before it answered.")
