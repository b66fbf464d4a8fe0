"""The door: who asks, from which page. Pure ASGI, before routing, so no route can forget it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.endpoints import health
from headrace.endpoints.intake import dialect_of
from headrace.errors import HeadraceError
from headrace.policy.auth import Access
from headrace.transports.http import error_response


class Guard:
    """Checks the page and the key, and leaves the owner's name in the scope; the key goes no further (P36)."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or answer it with 401 or 403 in its own shape."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._access.check_page(headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"))
            if scope["path"] not in health.PATHS:
                scope["headrace.owner"] = self._access.owner(headers.get("authorization"), headers.get("x-api-key"))
        except HeadraceError as error:
            await error_response(dialect_of(scope["path"]), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)
