"""An export as an HTTP body: written piece by piece, and never ended unless it is whole (P5)."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.dialects import NATIVE
from headrace.engine.export import MEDIA_TYPE
from headrace.engine.subscription import Subscription
from headrace.errors import HeadraceError
from headrace.transports.connection import Connection
from headrace.transports.heartbeat import Heartbeats
from headrace.transports.http import STREAM_HEADERS, error_response

log = logging.getLogger("headrace.http")


class ExportResponse(Response):
    """Pieces as they are made, each under the deadline of a write. Closes the subscription, whatever happens."""

    def __init__(
        self,
        stream_id: str,
        pieces: AsyncGenerator[bytes],
        heartbeats: Heartbeats,
        *,
        headers: Mapping[str, str],
        subscription: Subscription | None = None,
    ) -> None:
        """`subscription`: the place that this reader takes meanwhile."""
        self.status_code = 200
        self.background = None
        self.init_headers({**STREAM_HEADERS, **headers, "content-type": MEDIA_TYPE})
        self._stream_id = stream_id
        self._pieces = pieces
        self._heartbeats = heartbeats
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the connection until all is written or the client has gone."""
        try:
            async with aclosing(self._pieces):
                await Connection(scope, receive, send, self._heartbeats, self._stream_id).run(self._respond)
        finally:
            if self._subscription is not None:
                self._subscription.close()

    async def _respond(self, connection: Connection) -> bool:
        try:
            first = await anext(self._pieces)
        except HeadraceError as error:
            return await connection.answer(error_response(NATIVE, error))
        await connection.start(self.status_code, self.raw_headers)
        await connection.write(first)
        try:
            async for piece in self._pieces:
                await connection.write(piece)
        except HeadraceError as error:  # deleted, expired, or the store is away: what was sent is not the whole
            log.warning("stream %s: its export was cut off: %s", self._stream_id, error)
            return False
        return True
