"""A running Headrace server as `tail`, `export` and `cancel` see it: one address, one key."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
import typer
from yarl import URL

from headrace import __version__
from headrace.codecs import NOT_JSON
from headrace.codecs.sse import LineTooLong, SSEDecoder, SSEEvent
from headrace.dialects import bare_id
from headrace.errors import HeadraceError, NotFound, Unauthorized

UrlOption = Annotated[str, typer.Option("--url", envvar="HEADRACE_URL", metavar="URL", help="Address of the server.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        envvar="HEADRACE_API_KEY",
        metavar="KEY",
        show_default=False,
        help="Key for a server that wants one; the variable keeps it out of the list of processes.",
    ),
]
DEFAULT_URL: Final = "http://127.0.0.1:8000"

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEY = re.compile(r"[!-~]+")
# What a terminal would obey instead of show, except for line feed and tab.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# Twice the OpenAI client's 5 s, as the server's own towards model servers.
_CONNECT_S = 10.0
# Longer than a cancel may take to be confirmed on another node: 5 s (P7).
_ANSWER_S = 15.0
# Four of the server's heartbeats: a reader that hears nothing for so long is no longer connected.
_SILENCE_S = 60.0


class StreamStatus(msgspec.Struct, frozen=True):
    """The part of `GET /v1/streams/{id}` that is shown."""

    id: str
    state: Literal["running", "finished", "failed", "cancelled"]
    position: int = 0


class _ErrorFields(msgspec.Struct):
    code: str = ""
    message: str = ""
    retryable: bool = False


class _ErrorBody(msgspec.Struct):
    error: _ErrorFields


class Connection:
    """Talks to one server. Every failure is a `HeadraceError`, whose `may_retry` says whether trying again may help.

    Redirects are not followed: the key is for this server only.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        """Check both; nothing is sent yet.

        Raises:
            typer.BadParameter: one of them cannot be used.
        """
        self.url = _checked_url(url)
        self.retry_s: float | None = None
        """The pause before a reconnection that the server asked for."""
        headers = {"User-Agent": f"headrace/{__version__}"}
        if api_key:
            headers["Authorization"] = f"Bearer {_checked_key(api_key)}"
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_S, sock_read=_ANSWER_S)
        )

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def status(self, stream_id: str) -> StreamStatus:
        """How far the stream is."""
        async with self._request("GET", f"/v1/streams/{stream_id}") as response:
            return _status(await response.read())

    async def cancel(self, stream_id: str) -> StreamStatus:
        """Ask for the stop; a `state` of `running` means that it is not confirmed yet."""
        async with self._request("POST", f"/v1/streams/{stream_id}/cancel") as response:
            return _status(await response.read())

    async def cancel_by_key(self, idempotency_key: str) -> StreamStatus:
        """The same for the stream that was created with this idempotency key."""
        body = {"idempotency_key": idempotency_key}
        async with self._request("POST", "/v1/streams/cancel", json=body) as response:
            return _status(await response.read())

    async def events(self, stream_id: str, last_event_id: str) -> AsyncGenerator[list[SSEEvent]]:
        """The records after an id (empty: all), as JSON in SSE events, one list for each read.

        A cut looks like the end: only a terminal record says that the stream is over. The first list is empty and
        means that the server has accepted. A 204 gives nothing at all.
        """
        # Identity: what compresses on the way also waits for more.
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        path = f"/v1/streams/{stream_id}/events?format=native"
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        async with self._request("GET", path, headers=headers, timeout=timeout) as response:
            if response.status == 204:
                return
            decoder = SSEDecoder()
            yield []
            async for data in response.content.iter_any():
                events = decoder.feed(data)
                if decoder.retry_ms is not None:
                    self.retry_s = decoder.retry_ms / 1000
                if events:
                    yield events

    async def export(self, stream_id: str, *, partial: bool) -> AsyncGenerator[bytes]:
        """The lines of the whole log, as they come; of a stream that runs only if `partial` will do."""
        path = f"/v1/streams/{stream_id}/export" + ("?partial=true" if partial else "")
        async with self._request("GET", path, headers={"Accept-Encoding": "identity"}) as response:
            if response.status == 202:
                raise HeadraceError("the stream still runs: come back when it has ended, or give --partial")
            async for data in response.content.iter_any():
                yield data

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        url = URL(self.url + path, encoded=True)
        try:
            async with self._session.request(method, url, allow_redirects=False, **options) as response:
                if response.status >= 300:
                    raise _refusal(response.status, await response.read(), self.url)
                yield response
        except TimeoutError as error:
            raise HeadraceError(f"{self.url} does not answer", code="unreachable", retryable=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise HeadraceError(_unreachable(self.url, error), code="unreachable", retryable=True) from error
        except LineTooLong as error:
            raise HeadraceError(f"{self.url} does not speak Headrace's protocol: {error}") from error


def stream_id(text: str) -> str:
    """The bare id of what the user wrote, with or without a prefix such as `chatcmpl-`.

    Raises:
        typer.BadParameter: no id looks like this.
    """
    found = bare_id(text.strip())
    if not _ID.fullmatch(found):
        raise typer.BadParameter(f"{printable(text)!r} is no stream id, such as chatcmpl-4f2c… or 4f2c…")
    return found


def printable(text: str) -> str:
    """The text for a terminal, without what the terminal would obey (escape sequences move the cursor, or worse)."""
    return _CONTROLS.sub("�", text)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "?" in url or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise typer.BadParameter(f"{printable(url)!r} is no address such as {DEFAULT_URL}", param_hint="--url")
    # The /v1 is there where the address comes from an OpenAI client's settings.
    return url.rstrip("/").removesuffix("/v1")


def _checked_key(api_key: str) -> str:
    if not _KEY.fullmatch(api_key.strip()):
        raise typer.BadParameter("a key is visible ASCII characters without spaces", param_hint="--api-key")
    return api_key.strip()


def _status(body: bytes) -> StreamStatus:
    try:
        return msgspec.json.decode(body, type=StreamStatus)
    except NOT_JSON as error:
        raise HeadraceError("the answer is not that of a Headrace server: check --url") from error


def _refusal(status: int, body: bytes, url: str) -> HeadraceError:
    """The server's own error, with what a user of this command can do about it."""
    try:
        fields = msgspec.json.decode(body, type=_ErrorBody).error
    except NOT_JSON:
        fields = _ErrorFields()
    message = printable(fields.message).rstrip(".")
    if status == 401:
        return Unauthorized(f"{url} wants a key that it knows: set HEADRACE_API_KEY, or give --api-key")
    if status == 404 and fields.code:
        return NotFound(f"{message} ({url})")
    text = f"{url}: {message}" if message else f"{url} answered {status}, which is not what a Headrace server says"
    return HeadraceError(text, code=fields.code or None, status=status, retryable=fields.retryable or status >= 500)


def _unreachable(url: str, error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        # The error's own text is asyncio's, with the address as a tuple.
        number = error.os_error.errno
        reason = os.strerror(number) if number and number > 0 else str(error.os_error)
        return f"cannot connect to {url} ({reason}): is `headrace serve` running there?"
    return f"the connection to {url} was cut"
