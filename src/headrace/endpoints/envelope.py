"""What every HTTP exchange has, whatever it is about: an id, which the caller may choose, and a place in the counts."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.endpoints.handover import STARTED
from headrace.endpoints.intake import dialect_of
from headrace.errors import HeadraceError
from headrace.policy.auth import checked_token
from headrace.transports.http import error_response

HEADER = "X-Request-Id"
ANTHROPICS_HEADER = "Request-Id"
"""The same, where Anthropic's clients look for it."""


class Envelope:
    """Pure ASGI, around everything else: no answer goes without its id, refusals and defects included."""

    def __init__(self, app: ASGIApp, responded: Callable[[int], None]) -> None:
        """`responded` is called with the status of every answer."""
        self._app = app
        self._responded = responded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its id in the scope; answer with 400 where that cannot be echoed (P35)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = None
        try:
            request_id = _asked_id(scope) or secrets.token_hex(16)
        except HeadraceError as error:
            request_id = secrets.token_hex(16)
            refusal = error_response(dialect_of(scope["path"]), error)
        scope["headrace.request_id"] = request_id

        async def addressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                if dialect_of(scope["path"]) is ANTHROPIC_MESSAGES:
                    headers[ANTHROPICS_HEADER] = request_id
                self._responded(message["status"])
                scope[STARTED] = True
            await send(message)

        await (refusal or self._app)(scope, receive, addressed)


def _asked_id(scope: Scope) -> str | None:
    """The caller's own id. Raises `BadRequest`."""
    text = Headers(scope=scope).get(HEADER)
    return None if text is None else checked_token(text, HEADER)
