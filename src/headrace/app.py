"""The composition root: a `Config` to an ASGI app. State is built here and handed down; nothing is global."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from headrace import __version__
from headrace.config import Config, Model
from headrace.endpoints import completions, health, intake, models, prompt, streams
from headrace.endpoints.guard import Guard
from headrace.endpoints.services import Services
from headrace.engine.clock import Clock, SystemClock
from headrace.engine.engine import Engine, Route
from headrace.errors import HeadraceError, InternalError, MethodNotAllowed, NotFound
from headrace.policy.auth import Access
from headrace.providers import Provider
from headrace.providers import create as create_provider
from headrace.stores.base import StreamStore
from headrace.stores.memory import MemoryStore
from headrace.transports.heartbeat import Heartbeats

log = logging.getLogger("headrace.app")

EXPOSED_HEADERS = ("Headrace-Stream-Id", "Location", "Retry-After")
"""What a page's script may read of a cross-origin answer (P33)."""


class Providers:
    """One provider per model server: models that differ only by name share its connections."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._by_server: dict[Model, Provider] = {}
        for entry in config.models:
            server = _server(entry)
            if server not in self._by_server:
                self._by_server[server] = create_provider(entry, config)

    def route(self, model: str) -> Route | None:
        """The provider of a model and the model's name there: see `Router.route`."""
        entry = self._config.resolve(model)
        return entry and Route(self._by_server[_server(entry)], entry.upstream_model)

    async def start(self) -> None:
        """Open what makes first answers fast, all at once. Raises what a provider that cannot serve raises."""
        async with anyio.create_task_group() as tasks:
            for provider in self._by_server.values():
                tasks.start_soon(provider.start)

    async def close(self) -> None:
        """Close all."""
        for provider in self._by_server.values():
            await provider.close()


def _server(entry: Model) -> Model:
    """What two entries must share to share a provider; a recording is a server of its own."""
    upstream = "" if entry.protocol == "openai" else entry.upstream_model
    return msgspec.structs.replace(entry, name="", upstream_model=upstream, on_disconnect=None)


def create_app(config: Config, *, store: StreamStore | None = None, clock: Clock | None = None) -> ASGIApp:
    """The whole server; it starts with the ASGI lifespan.

    Raises:
        ConfigError: the configuration would let strangers in without keys (P33).
    """
    config.check_access()
    clock = clock or SystemClock()
    store = store or MemoryStore(
        now=clock.wall,
        retention=config.retention_seconds,
        max_stream_bytes=config.max_stream_log_bytes,
        max_bytes=config.max_log_bytes,
    )
    providers = Providers(config)
    services = Services(
        config=config,
        engine=Engine(config, store, clock),
        router=providers,
        access=Access(config),
        heartbeats=Heartbeats(clock, config.keepalive_seconds),
    )
    app = FastAPI(
        title="Headrace",
        version=__version__,
        summary="Every response is a durable stream with an id.",
        lifespan=_lifespan(services, providers, store),
        redoc_url=None,
        docs_url=None,
    )
    for module in (completions, streams, prompt, models, health):
        app.include_router(module.router(services))
    app.add_exception_handler(HeadraceError, _handled)
    app.add_exception_handler(HTTPException, _handled)
    app.add_exception_handler(Exception, _handled)
    return _with_cors(Guard(app, services.access), config)


def _with_cors(app: ASGIApp, config: Config) -> ASGIApp:
    """CORS is off unless origins are configured; it stands outside the guard, so refusals can be read too."""
    if not config.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=config.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )


def _lifespan(services: Services, providers: Providers, store: StreamStore):  # noqa: ANN202 - Starlette's own type
    """Start providers, then the engine; stop in the opposite order, so every stream gets its terminal record."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            stack.push_async_callback(providers.close)
            await providers.start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(services.heartbeats.run)
                async with services.engine.running():
                    yield
                tasks.cancel_scope.cancel()

    return lifespan


async def _handled(request: Request, error: Exception) -> Response:
    """Every error that leaves an endpoint, in the shape that was called; a defect is logged, never shown (P19)."""
    if isinstance(error, HTTPException):
        error = _routing_error(request, error)
    elif not isinstance(error, HeadraceError):
        log.error("defect in %s %s", request.method, request.scope["path"], exc_info=error)
        error = InternalError("The server made a mistake; it is in its log.")
    response = intake.failure(request, error)
    return response


def _routing_error(request: Request, error: HTTPException) -> HeadraceError:
    path = request.scope["path"]
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method} is not a method of {path}.")
    return NotFound(f"There is nothing at {path}.")
