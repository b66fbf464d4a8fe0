"""One process that serves: the application under uvicorn, on bound sockets, until a signal."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any, Final, cast

import anyio
import typer
import uvicorn

from headrace.app import create_app
from headrace.cli import logs
from headrace.cli.protocol import LAST_WRITES_S, AbortableProtocol
from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.telemetry.siblings import Siblings

# uvicorn's own.
_POLL_S: Final = 0.1
# Longer than the 60 s for which nginx and AWS's load balancer keep an idle connection to a server: whoever closes
# first must be the client, or a request meets a connection that has just been closed. 75 s is nginx's own.
_KEEP_ALIVE_S: Final = 75

# How long a worker that makes room for its successor goes on to answer: a connection that it has just taken brings its
# request within that time, or is idle.
_SETTLE_S: Final = 1

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def run(
    config: Config, sockets: list[socket.socket], ready: Callable[[], None], siblings: Siblings | None = None
) -> None:
    """Serve on bound sockets until a signal; `siblings` make it one of several workers.

    Raises:
        HeadraceError: the application could not start.
        typer.Exit: it could not start for a reason that is in the log.
    """
    cut = anyio.Event()
    application = _Application(create_app(config, cut=cut, siblings=siblings))
    server = _Server(
        uvicorn.Config(
            application,
            loop="asyncio" if sys.platform == "win32" else "uvloop",
            http=AbortableProtocol,
            ws="none",
            interface="asgi3",
            lifespan="on",
            log_config=logs.settings(config.log_level, f"worker {siblings.number}" if siblings else ""),
            access_log=False,
            server_header=False,
            # Nothing reads the caller's address, so nothing needs to trust a proxy to tell it.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_WRITES_S + 1,
        ),
        ready,
        cut,
    )
    if siblings is not None:
        signal.signal(signal.SIGHUP, server.make_room)
    try:
        server.run(sockets)
    except SystemExit as end:  # how uvicorn says that the application did not start
        if application.failure is not None:
            raise application.failure from None
        raise typer.Exit(1) from end


class _Server(uvicorn.Server):
    """uvicorn's server with a word when it is ready, and with an orderly end as the answer to a signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], cut: anyio.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._cut = cut
        self._told = False
        self._replaced = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then say so."""
        await super().startup(sockets)
        _calm_collector()
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application drain, which still listens meanwhile, and close the connections after that.

        uvicorn alone would cut the readers first and stop the application then: nobody would be left to read the
        terminal records, to resume, or to be told to come back (P11).
        """
        if self._replaced:
            await self._leave_socket()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wait_for_cut)
            await self.lifespan.shutdown()
            tasks.cancel_scope.cancel()
        await super().shutdown(sockets)

    async def _leave_socket(self) -> None:
        """Take no more connections, and close those that are idle: others serve on the same socket."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_SETTLE_S)
        for connection in list(self.server_state.connections):
            cast(AbortableProtocol, connection).close_when_idle()

    async def _wait_for_cut(self) -> None:
        while not self.force_exit:  # noqa: ASYNC110 - a signal handler may set nothing else
            await asyncio.sleep(_POLL_S)
        self._cut.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second.

        uvicorn's own also raises the signal again after the drain, and the process then ends with 143 or 130 as if it
        had been killed.
        """
        if self._told:
            self.force_exit = True
        self._told = True
        self.should_exit = True

    def make_room(self, sig: int, frame: FrameType | None) -> None:
        """End as soon as what runs has ended: a successor already serves."""
        self._replaced = True
        self.should_exit = True


class _Application:
    """The application; keeps the error that stopped its start, so that it is shown as one line and not as a trace."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.failure: HeadraceError | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        return self._application(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: list[Scope] = []

        async def hold_failure(message: Scope) -> None:
            if message["type"] == "lifespan.startup.failed":
                failed.append(message)  # its text is a trace
            else:
                await send(message)

        try:
            await self._application(scope, receive, hold_failure)
        except BaseException as error:
            self.failure = _cause(error)
            for message in failed:
                await send(message if self.failure is None else {"type": message["type"]})
            raise


def _cause(error: BaseException) -> HeadraceError | None:
    """The error of ours that a start failed with; providers start in a task group, which wraps it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error if isinstance(error, HeadraceError) else None


def _calm_collector() -> None:
    """Keep the collector away from the modules, which live for ever, and let it run seldom.

    Walking the log, not the work, was the tail of the added latency: 53-74 ms p99, and 3.9 ms after this. The youngest
    generation is small, because looking at 50,000 objects takes 5 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)
