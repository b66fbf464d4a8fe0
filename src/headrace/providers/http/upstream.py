"""Requests to one model server, and what their failures are called."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import msgspec

from headrace import __version__
from headrace.codecs.http_response import ProtocolError
from headrace.errors import HeadraceError, UpstreamProtocol, UpstreamTimeout, UpstreamUnavailable
from headrace.providers.http.connection import Connection
from headrace.providers.http.pool import Pool
from headrace.providers.http.reply import Reply
from headrace.providers.redaction import Redactor
from headrace.providers.refusals import Refusal, complaint_of, error_of, not_a_stream

log = logging.getLogger("headrace.providers")

_USER_AGENT = f"headrace/{__version__}"
EVENT_STREAM = "text/event-stream"
JSON = "application/json"

# A server that is slower than this gains nothing from a connection that is there a moment earlier.
_WARM_UP_SECONDS = 1.0
_ERROR_BODY_BYTES = 64 * 1024
# A server that stops in the middle of its error must not hold the caller's.
_ERROR_BODY_SECONDS = 5.0
# Characters of a refusal that one line of the log may have.
_LONGEST_WORDS = 1000


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


class Upstream:
    """The requests to one model server. Belongs to one event loop."""

    def __init__(self, settings: HttpSettings, redactor: Redactor, wall: Callable[[], float] = time.time) -> None:
        """`wall` is Unix time, for a `Retry-After` that is a date."""
        self.settings = settings
        self._redactor = redactor
        self._wall = wall
        self._url = urlsplit(settings.base_url)
        tls = self._url.scheme == "https"
        self._pool = Pool(self._url.hostname or "", self._url.port or (443 if tls else 80), tls=tls)

    async def start(self) -> None:
        """Open a connection ahead with a HEAD of the base address, whatever it answers.

        Takes a second at most, and never fails: start several in one task group. No credential is sent.
        """
        with anyio.move_on_after(min(self.settings.connect_timeout, _WARM_UP_SECONDS)):
            try:
                connection = await self._pool.connect()
                try:
                    await connection.ask(self._head("HEAD", "", {}), (), bodiless=True)
                finally:
                    await self._leave(connection)
            except (ProtocolError, OSError) as problem:
                log.debug("%s: not reached at start-up: %s", self.settings.base_url, self._redactor.text(str(problem)))

    async def close(self) -> None:
        """Close every connection that carries nothing; the others are closed by who left them."""
        await self._pool.close()

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes | Sequence[bytes], accept: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Reply, None]:
        """Send `body`, in pieces or whole, and give the answer, a 200 with content of the type `accept`.

        `headers` are this request's own; they must be well-formed, and beat those that are configured.

        Leaving the context, also by cancellation, closes the connection's socket before it returns, unless the body
        was read to its end.

        Raises:
            UpstreamUnavailable: unreachable, or closed before it answered.
            UpstreamTimeout: `upstream_connect_timeout`.
            HeadraceError: what `refusals` makes of any other answer.
        """
        pieces = (body,) if isinstance(body, bytes) else body
        own = {
            "Content-Type": JSON,
            "Accept": accept,
            **self._with(headers or {}),
            "Content-Length": str(sum(map(len, pieces))),
        }
        connection, reply = await self._ask(self._head("POST", path, own), pieces)
        del body, pieces, own  # the answer may last for minutes, and a prompt be megabytes
        try:
            await self._check(reply, accept)
            reply.forget_head()
            yield reply
        finally:
            await self._leave(connection)

    def _with(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The configured headers, those of a request in the place of their namesakes."""
        given = {name.lower() for name in headers}
        configured = {name: value for name, value in self.settings.headers if name.lower() not in given}
        return {**configured, **headers}

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """The request's head; what is configured was checked for line breaks."""
        fields = {"Host": self._url.netloc, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        given = {name.lower() for name in headers}
        fields = {name: value for name, value in fields.items() if name.lower() not in given} | dict(headers)
        lines = [f"{method} {self._url.path + path or '/'} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "\r\n"]).encode()

    async def _ask(self, head: bytes, body: Sequence[bytes]) -> tuple[Connection, Reply]:
        """Ask; once more where a connection from the pool turned out to be closed.

        A server may close an idle connection at the very moment at which it is used again (llama.cpp does so after
        each stream, without saying it), and then has not read the request (RFC 9112 9.3.1, 9.5).
        """
        connection = self._pool.take()
        if connection is not None:
            try:
                return connection, await self._ask_on(connection, head, body)
            except OSError:
                log.debug("%s: an idle connection was closed", self.settings.base_url)
        connection = await self._connect()
        try:
            return connection, await self._ask_on(connection, head, body)
        except OSError as problem:
            self._note(problem)
            raise UpstreamUnavailable("The model server closed the connection before it answered.") from problem

    async def _ask_on(self, connection: Connection, head: bytes, body: Sequence[bytes]) -> Reply:
        try:
            return await connection.ask(head, body)
        except ProtocolError as problem:
            self._note(problem)
            await connection.cut()
            text = "The model server's answer is not valid HTTP: check base_url."
            raise UpstreamProtocol(text, retryable=False) from problem
        except BaseException:
            await connection.cut()
            raise

    async def _connect(self) -> Connection:
        try:
            with anyio.fail_after(self.settings.connect_timeout):
                return await self._pool.connect()
        except OSError as problem:
            self._note(problem)
            raise _unreachable(problem) from problem

    async def _leave(self, connection: Connection) -> None:
        """Keep the connection if another request can follow on it, and cut it otherwise."""
        if connection.release():
            self._pool.give_back(connection)
        else:
            await connection.cut()

    async def _check(self, reply: Reply, accept: str) -> None:
        """Raise for everything but a 200 of the expected type; a server that names no type is trusted."""
        if (
            reply.status == 200
            and reply.headers.get("content-type", accept).partition(";")[0].strip().lower() == accept
        ):
            return
        refusal = await _refusal(reply)
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


async def _refusal(reply: Reply) -> Refusal:
    """The start of an error body, as much as there is in a few seconds."""
    body = bytearray()
    with anyio.move_on_after(_ERROR_BODY_SECONDS):
        try:
            while (data := await reply.read()) and len(body) < _ERROR_BODY_BYTES:
                body += data
        except HeadraceError:
            log.debug("an error body broke off")
    return Refusal(reply.status, reply.headers, bytes(body[:_ERROR_BODY_BYTES]))


def _unreachable(problem: OSError) -> HeadraceError:
    """Why there is no connection, in words that show nothing of the operator's network."""
    match problem:
        case TimeoutError():
            text = "The model server could not be connected to in time."
            return UpstreamTimeout(text, code="upstream_connect_timeout")
        case ssl.SSLError():
            return UpstreamUnavailable("The model server cannot be trusted: TLS failed.", retryable=False)
        case socket.gaierror():
            return UpstreamUnavailable("The model server cannot be found: its name has no address.")
        case OSError(errno=errno.ECONNREFUSED):
            return UpstreamUnavailable("The model server refused the connection: it may not be running.")
        case _:
            return UpstreamUnavailable("The model server cannot be reached.")
