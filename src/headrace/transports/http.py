"""One subscription to one HTTP connection: pure ASGI, because a token must not pass a framework's stack.

Every body ends in one of two ways (P5): cleanly, after the view's terminal frame, or aborted, by returning without the
last ASGI message, which leaves the chunked body without its end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.dialects.base import Dialect
from headrace.engine.subscription import Subscription
from headrace.errors import HeadraceError, NotFound, StreamCancelled
from headrace.events import Answer, Cancelled, Failed, Finished, Terminal
from headrace.transforms.accumulator import Accumulator
from headrace.transports.broadcast import Broadcast
from headrace.transports.connection import Connection
from headrace.transports.framing import BATCH_BYTES, Framing
from headrace.transports.heartbeat import Heartbeats
from headrace.transports.reader import Reader

log = logging.getLogger("headrace.http")

STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""What keeps proxies from holding a stream back, storing or compressing it (P16)."""

_RETRIED = frozenset({408, 409, 429})
"""Statuses below 500 that official clients retry unless told not to."""


def terminal_error(terminal: Failed | Cancelled) -> HeadraceError:
    """The error that an HTTP answer shows for a stream that did not finish."""
    if isinstance(terminal, Cancelled):
        return StreamCancelled(f"The stream was cancelled ({terminal.by}).")
    return HeadraceError(
        terminal.message,
        code=terminal.code,
        status=terminal.status,
        retryable=terminal.retryable,
        retry_after=terminal.retry_after,
        param=terminal.param,
    )


def error_response(
    dialect: Dialect,
    error: HeadraceError,
    *,
    partial: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the shape's own form (P19), with what a client's retry logic reads."""
    fields = dict(headers or {})
    if error.retry_after is not None:
        fields["retry-after"] = str(math.ceil(error.retry_after))
    if not error.may_retry and (error.status >= 500 or error.status in _RETRIED):
        fields.setdefault("x-should-retry", "false")
    if error.status == 401:
        fields["www-authenticate"] = "Bearer"
    media_type = "text/plain; charset=utf-8" if dialect.name == "text" else "application/json"
    return Response(dialect.error(error, partial), error.status, fields, media_type)


class StreamResponse(Response):
    """A view of a stream as an HTTP body. Closes the reader, whatever happens."""

    def __init__(
        self,
        reader: Reader,
        framing: Framing,
        heartbeats: Heartbeats,
        *,
        headers: Mapping[str, str],
        hold: float | None = None,
    ) -> None:
        """`hold`: seconds until the headers go out even if the upstream has not answered (P13); None sends them now."""
        self.status_code = 200
        self.background = None
        self.init_headers({**STREAM_HEADERS, **headers, "content-type": framing.media_type})
        self._reader = reader
        self._framing = framing
        self._heartbeats = heartbeats
        self._hold = hold
        self._extra = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the connection until the view is over or the client has gone."""
        stream_id = self._reader.subscription.stream_id
        try:
            await Connection(scope, receive, send, self._heartbeats, stream_id).run(self._respond)
        finally:
            self._reader.close()

    async def _respond(self, connection: Connection) -> bool:
        try:
            if self._hold is not None:
                await self._commit(self._hold)
            refusal = self._refusal()
        except HeadraceError as error:
            refusal = error_response(self._reader.dialect, error, headers=self._extra)
        if refusal is not None:
            return await connection.answer(refusal)
        await connection.start(self.status_code, self.raw_headers)
        self.raw_headers = list[tuple[bytes, bytes]]()  # an answer lasts long, and they are a kilobyte
        if self._framing.opening:
            await connection.write(self._framing.opening)
        connection.heartbeat = self._framing.heartbeat
        try:
            return await self._pump(connection)
        except NotFound:  # deleted under the reader: what it has is not the whole stream, so the body must not end
            log.info("stream %s: deleted while it was read", self._reader.subscription.stream_id)
        except HeadraceError as error:  # the log cannot be read any more: likewise, and all readers say so at once
            log.info("stream %s: a reader was cut off: %s", self._reader.subscription.stream_id, error)
        return False

    async def _commit(self, hold: float) -> None:
        """Wait for the upstream's first frame or the end of the hold; until then a failure is an HTTP error (P13)."""
        with anyio.CancelScope() as scope:
            timer = self._heartbeats.clock.call_later(hold, scope.cancel)
            try:
                await self._reader.wait_answered()
            finally:
                timer.cancel()

    def _refusal(self) -> Response | None:
        terminal = self._reader.terminal
        if self._hold is None or self._reader.answered or not isinstance(terminal, Failed | Cancelled):
            return None
        return error_response(self._reader.dialect, terminal_error(terminal), headers=self._extra)

    async def _pump(self, connection: Connection) -> bool:
        """Write what there is, and let it be written with the others' what comes, for as long as that goes well."""
        reader = self._reader
        while await self._write(await reader.next(), connection):
            if connection.direct:
                broadcast = Broadcast.of(reader, self._framing)
                if broadcast is not None:
                    await broadcast.serve(reader, connection)
        return reader.terminal is not None and reader.dialect.clean_end(reader.terminal)

    async def _write(self, frames: list[Any], connection: Connection) -> bool:
        """Whether there were any. A call of its own: who waits for more must not hold these."""
        reader, framing = self._reader, self._framing
        some = bool(frames)
        while frames:
            body, taken = framing.encode(reader.view, frames, reader.position, BATCH_BYTES)
            await connection.write(body)
            reader.advance(frames[:taken])
            frames = frames[taken:]
        return some


class AnswerResponse(Response):
    """A non-streaming answer: the stream is read to its end, then sent as one body (P12)."""

    def __init__(
        self,
        subscription: Subscription,
        dialect: Dialect,
        heartbeats: Heartbeats,
        *,
        headers: Mapping[str, str],
        replayable: bool,
    ) -> None:
        """`replayable`: a retry of this request would get this same stream again, so a failure is final."""
        self.background = None
        self._subscription = subscription
        self._dialect = dialect
        self._heartbeats = heartbeats
        self._extra = dict(headers)
        self._replayable = replayable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the end and answer; a client that leaves while waiting gets nothing, and is a reader that left."""
        stream_id = self._subscription.stream_id
        try:
            await Connection(scope, receive, send, self._heartbeats, stream_id).run(self._respond)
        finally:
            self._subscription.close()

    async def _respond(self, connection: Connection) -> bool:
        try:
            answer = await self._whole()
        except HeadraceError as error:
            return await connection.answer(error_response(self._dialect, error, headers=self._extra))
        response = answer_response(self._dialect, answer, self._extra, replayable=self._replayable)
        return await connection.answer(response)

    async def _whole(self) -> Answer:
        accumulator = Accumulator()
        while records := await self._subscription.next():
            accumulator.feed(records)
        answer = accumulator.answer()
        await anyio.lowlevel.checkpoint()  # joining a long answer and encoding it are two steps
        return answer


class WholeResponse(Response):
    """A response with an answer in it, sent like one: its body may be many MB, and its reader may not read (P23)."""

    def __init__(self, response: Response, stream_id: str, heartbeats: Heartbeats) -> None:
        """`response` has its whole body."""
        self.background = None
        self._response = response
        self._stream_id = stream_id
        self._heartbeats = heartbeats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def respond(connection: Connection) -> bool:
            return await connection.answer(self._response)

        await Connection(scope, receive, send, self._heartbeats, self._stream_id).run(respond)


def answer_response(
    dialect: Dialect, answer: Answer, headers: Mapping[str, str], *, replayable: bool = False
) -> Response:
    """The body of an ended stream: the answer, or its failure with the partial text."""
    terminal: Terminal | None = answer.terminal
    if isinstance(terminal, Finished):
        return Response(dialect.answer(answer), 200, dict(headers), "application/json")
    if terminal is None:
        raise ValueError("the stream has not ended")
    has_content = any(item.text for choice in answer.choices for item in choice.items)
    fields = dict(headers)
    if replayable and has_content:
        fields["x-should-retry"] = "false"
    return error_response(
        dialect, terminal_error(terminal), partial=answer.text if has_content else None, headers=fields
    )
