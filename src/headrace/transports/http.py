"""One subscription to one HTTP connection: pure ASGI, because a token must not pass a framework's stack.

Every body ends in one of two ways (P5): cleanly, after the view's terminal frame, or aborted, by returning without the
last ASGI message, which leaves the chunked body without its end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping

import anyio
import anyio.abc
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.dialects.base import Dialect
from headrace.engine.subscription import Subscription
from headrace.errors import HeadraceError, NotFound, StreamCancelled
from headrace.events import Answer, Cancelled, Failed, Finished, Terminal
from headrace.transforms.accumulator import Accumulator
from headrace.transports.framing import Framing
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


async def _while_connected(receive: Receive, work: Callable[[anyio.abc.TaskGroup], Awaitable[None]]) -> None:
    """Run `work` and cancel it, with what it started, as soon as the client is gone.

    The request's body must have been read.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await work(tasks)
        tasks.cancel_scope.cancel()


class StreamResponse(Response):
    """A view of a stream as an HTTP body. Closes the reader, whatever happens."""

    _send: Send
    _tasks: anyio.abc.TaskGroup

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
        self._beating: anyio.Event | None = None
        self._ending = False
        """Nothing but the body's end is to come: still watched for a reader that does not read, but not kept alive."""
        self.last_write = 0.0
        self.writing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the connection until the view is over or the client has gone."""

        async def work(tasks: anyio.abc.TaskGroup) -> None:
            self._tasks = tasks
            self._send = send
            await self._respond(scope, receive, send)

        try:
            await _while_connected(receive, work)
        except* OSError:  # how some servers say that the client has gone
            log.debug("stream %s: a reader's connection broke", self._reader.subscription.stream_id)
        finally:
            self._heartbeats.remove(self)
            self._reader.close()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._hold is not None:
                await self._commit(self._hold)
            refusal = self._refusal()
        except HeadraceError as error:
            refusal = error_response(self._reader.dialect, error, headers=self._extra)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self.last_write = self._heartbeats.clock.monotonic()
        self._heartbeats.add(self)
        try:
            await self._pump()
        except NotFound:  # deleted under the reader: what it has is not the whole stream, so the body must not end
            log.info("stream %s: deleted while it was read", self._reader.subscription.stream_id)
        except HeadraceError as error:  # the log cannot be read any more: likewise
            log.warning("stream %s: a reader was cut off: %s", self._reader.subscription.stream_id, error)

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

    async def _pump(self) -> None:
        reader = self._reader
        while frames := await reader.next():
            await self._write(self._framing.encode(reader.view, frames, reader.position))
            reader.advance(frames)
        self._ending = True
        if reader.terminal is not None and reader.dialect.clean_end(reader.terminal):
            await self._write(b"", more=False)

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        if self._beating is not None:  # two sends at once have no order
            await self._beating.wait()
        self.last_write = self._heartbeats.clock.monotonic()
        self.writing = True
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self.writing = False

    def beat(self) -> None:
        """Show life: see `Idle.beat`."""
        self.last_write = self._heartbeats.clock.monotonic()
        if self._framing.heartbeat is not None and not self._ending:
            self._tasks.start_soon(self._write_heartbeat, self._framing.heartbeat)

    async def _write_heartbeat(self, heartbeat: bytes) -> None:
        if self.writing or self._ending or self._beating is not None:  # frames came first, and say more
            return
        self.writing = True
        self._beating = anyio.Event()
        await self._send({"type": "http.response.body", "body": heartbeat, "more_body": True})
        self.writing = False
        self._beating.set()
        self._beating = None

    def cut(self) -> None:
        """Abort: see `Idle.cut`."""
        log.info("stream %s: a reader does not read and is cut off", self._reader.subscription.stream_id)
        self._tasks.cancel_scope.cancel()


class AnswerResponse(Response):
    """A non-streaming answer: the stream is read to its end, then sent as one body (P12)."""

    def __init__(
        self, subscription: Subscription, dialect: Dialect, *, headers: Mapping[str, str], replayable: bool
    ) -> None:
        """`replayable`: a retry of this request would get this same stream again, so a failure is final."""
        self.background = None
        self._subscription = subscription
        self._dialect = dialect
        self._extra = dict(headers)
        self._replayable = replayable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the end and answer; a client that leaves while waiting gets nothing, and is a reader that left."""

        async def work(_: anyio.abc.TaskGroup) -> None:
            try:
                answer = await self._whole()
            except HeadraceError as error:
                response = error_response(self._dialect, error, headers=self._extra)
            else:
                response = answer_response(self._dialect, answer, self._extra, replayable=self._replayable)
            await response(scope, receive, send)

        try:
            await _while_connected(receive, work)
        finally:
            self._subscription.close()

    async def _whole(self) -> Answer:
        accumulator = Accumulator()
        while records := await self._subscription.next():
            accumulator.feed(records)
        return accumulator.answer()


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
