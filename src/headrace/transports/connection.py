"""The connection that a request came on, while its answer is sent: bounded writes, signs of life, and its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from headrace.transports.heartbeat import Heartbeats

log = logging.getLogger("headrace.http")

ABORT = "headrace.abort"
"""An extension of ASGI: where the server offers it, `scope["extensions"][ABORT]()` resets the request's connection.

It takes effect at once: what the client has not received by then is lost, in the server and in the kernel. It may be
called at any time and any number of times, and does nothing once the connection is gone.
"""

DIRECT = "headrace.direct"
"""An extension of ASGI: where the server offers it, `scope["extensions"][DIRECT]` is a `Direct`."""


class Direct(Protocol):
    """The request's connection without ASGI's messages, each of which passes half a dozen wrappers and a task."""

    @property
    def paused(self) -> bool:
        """Whether the client has not taken yet what it was written; an ASGI `send` then waits until it has."""
        ...

    def write(self, body: bytes) -> bool:
        """Write a piece of the body, framed as the head has announced; nothing once the connection is gone.

        Only after the head and before the end of the body, and not while a `send` waits.

        Returns:
            Whether the client has taken it: not `paused`.
        """
        ...

    def watch(self, gone: Callable[[], object]) -> bool:
        """Call back once when the client goes, instead of `receive`; False where the request has not all arrived."""
        ...


WRITE_BYTES = 256 * 1024
"""The most bytes of one write; a longer body is several, so that the deadline of a write asks the same of any reader.

A server takes one write while it still holds the one before, so a reader that does not read costs two of them at most.
With the default `write_timeout` a reader needs 9 kB/s to keep up with writes of this size.
"""


class Connection:
    """Sends one answer. The work on it is cancelled when the client goes away, or does not read (P23)."""

    __slots__ = (
        "_abort",
        "_beating",
        "_direct",
        "_heartbeats",
        "_receive",
        "_scope",
        "_send",
        "_sending",
        "_stream_id",
        "_tasks",
        "heartbeat",
        "last_write",
        "wrote",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, heartbeats: Heartbeats, stream_id: str) -> None:
        """`stream_id` is for the log. The request's body must have been read: what is left of it is thrown away."""
        self.heartbeat: bytes | None = None
        """What is sent after an interval of silence; None before the headers, and where nothing can be."""
        extensions = scope.get("extensions", {})
        self._abort: Callable[[], None] | None = extensions.get(ABORT)
        self._direct: Direct | None = extensions.get(DIRECT)
        self._receive = receive
        self._send = send
        self._heartbeats = heartbeats
        self._stream_id = stream_id
        self._beating: anyio.Event | None = None
        self._tasks: TaskGroup | None = None
        self.last_write = heartbeats.clock.monotonic()
        self._sending = False
        self.wrote = False

    async def run(self, work: Callable[[Connection], Awaitable[bool]]) -> None:
        """Let `work` send the answer and say whether its body is whole: only then it ends cleanly (P5).

        Returning without the end makes the server abort the body.
        """
        try:
            with anyio.CancelScope() as self._scope:
                if self._direct is not None and self._direct.watch(self._scope.cancel):
                    await self._work(work)
                    return
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._watch)
                    await self._work(work)
                    self._tasks.cancel_scope.cancel()
        except* OSError:  # how some servers say that the client has gone
            log.debug("stream %s: a reader's connection broke", self._stream_id)
        finally:
            self._heartbeats.remove(self)

    async def _work(self, work: Callable[[Connection], Awaitable[bool]]) -> None:
        self._heartbeats.add(self)
        whole = await work(self)
        self.heartbeat = None
        # A write of its own, also when the body is aborted: uvicorn waits until what it holds is taken before it takes
        # more. Without it the last frames could wait for a reader outside of any deadline.
        await self._put({"type": "http.response.body", "body": b"", "more_body": not whole})

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes) -> None:
        """Send a piece of the body and wait until the server takes it."""
        for begin in range(0, len(body), WRITE_BYTES):
            piece = body[begin : begin + WRITE_BYTES]
            await self._put({"type": "http.response.body", "body": piece, "more_body": True})

    @property
    def direct(self) -> bool:
        """Whether there is a `writer`."""
        return self._direct is not None and self._beating is None

    @property
    def writing(self) -> bool:
        """See `Idle.writing`."""
        return self._sending or (self._direct is not None and self._direct.paused)

    def writer(self) -> Callable[[bytes], bool]:
        """What writes a piece of the body without waiting, where the connection is `direct`.

        Each is of a length as `BATCH_BYTES`, and `wrote` is to be set with it. It returns whether the client has taken
        it; if not, the next call must be `write`, which waits until it has.
        """
        assert self._direct is not None
        return self._direct.write

    async def answer(self, response: Response) -> bool:
        """Send a response of one body, which is whole then; its own `__call__` would leave it outside the deadline."""
        await self.start(response.status_code, response.raw_headers)
        await self.write(bytes(response.body))
        return True

    async def _put(self, message: Message) -> None:
        if self._beating is not None:  # two sends at once have no order
            await self._beating.wait()
        self.last_write = self._heartbeats.clock.monotonic()
        self._sending = True
        await self._send(message)
        self._sending = False

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._scope.cancel()

    def beat(self) -> None:
        """Show life: see `Idle.beat`."""
        self.last_write = self._heartbeats.clock.monotonic()
        if self.heartbeat is None:
            return
        if self._direct is None:
            assert self._tasks is not None
            self._tasks.start_soon(self._beat)
        elif not self.writing:
            self._direct.write(self.heartbeat)

    async def _beat(self) -> None:
        if self._sending or self.heartbeat is None or self._beating is not None:  # frames came first, and say more
            return
        self._sending = True
        self._beating = anyio.Event()
        await self._send({"type": "http.response.body", "body": self.heartbeat, "more_body": True})
        self._sending = False
        self._beating.set()
        self._beating = None

    def cut(self) -> None:
        """Abort: see `Idle.cut`. Closing alone would wait until the client has taken what the server holds for it."""
        log.info("stream %s: a reader does not read and is cut off", self._stream_id)
        if self._abort is not None:
            self._abort()
        self._scope.cancel()
