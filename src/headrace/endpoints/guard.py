"""The door: who asks, from which page, or with a token for one stream. Pure ASGI, so no route can forget it."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.endpoints import attach, health, playground
from headrace.endpoints.intake import dialect_of
from headrace.engine.engine import Engine
from headrace.errors import Forbidden, HeadraceError
from headrace.policy.auth import Access
from headrace.policy.read_token import ReadTokens
from headrace.transports.http import error_response

_READS = re.compile(r"/v1/(?:streams|chat/completions|messages|responses)/([^/]+)(?:/events)?")
"""Where a stream is read, in any shape."""


class Guard:
    """Checks the page and the key, and leaves the owner's name in the scope; the key goes no further (P36)."""

    def __init__(
        self, app: ASGIApp, access: Access, tokens: ReadTokens, engine: Engine, now: Callable[[], float]
    ) -> None:
        """`now` is Unix time."""
        self._app = app
        self._access = access
        self._tokens = tokens
        self._engine = engine
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or answer it with 401 or 403 in its own shape."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if playground.serves(scope["path"]):  # says nothing that a package index would not
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._access.check_page(headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"))
            if scope["path"] not in health.PATHS:
                scope["headrace.owner"] = await self._owner(scope, headers)
        except HeadraceError as error:
            await error_response(dialect_of(scope["path"]), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _owner(self, scope: Scope, headers: Headers) -> str:
        """Whose streams the request is about: the key's owner, or with a token that of the one stream it opens."""
        key = headers.get("authorization"), headers.get("x-api-key")
        token = _token_of(scope["query_string"]) if key == (None, None) else None
        if token is None:
            return self._access.owner(*key)
        match = _READS.fullmatch(scope["path"])
        if match is None or scope["method"] not in ("GET", "HEAD"):
            raise Forbidden("A token reads one stream, and does nothing else.", param="token")
        stream_id = attach.stream_of(match[1])
        self._tokens.check(token, stream_id, self._now())
        return await self._engine.owner(stream_id)


def _token_of(query: bytes) -> str | None:
    if b"token=" not in query:
        return None
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("token")
    return values[0] if values else None
