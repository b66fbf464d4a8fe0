"""The composition root: a `Config` to an ASGI app. State is built here and handed down; nothing is global."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from headrace import __version__
from headrace.config import Config, Model
from headrace.endpoints import (
    completions,
    components,
    export,
    health,
    metrics,
    models,
    playground,
    prompt,
    responses,
    streams,
    token_count,
    tokens,
)
from headrace.endpoints.envelope import Envelope
from headrace.endpoints.guard import Guard
from headrace.endpoints.handover import ANSWERED, Handover
from headrace.endpoints.intake import dialect_of
from headrace.endpoints.services import Services
from headrace.engine.archiver import Objects
from headrace.engine.clock import Clock, SystemClock
from headrace.engine.engine import Engine
from headrace.engine.observer import Source
from headrace.engine.order import Route
from headrace.errors import ConfigError, HeadraceError, InternalError, MethodNotAllowed, NotFound
from headrace.policy import pricing
from headrace.policy.auth import Access
from headrace.policy.read_token import FOR_EVER, SHARED_SECRET, ReadTokens
from headrace.providers import Factory, Provider
from headrace.providers import create as create_provider
from headrace.stores.base import StreamStore
from headrace.stores.memory import MemoryStore
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.siblings import Siblings
from headrace.telemetry.stream_log import StreamLog
from headrace.transports.heartbeat import Heartbeats
from headrace.transports.http import error_response

log = logging.getLogger("headrace.app")

EXPOSED_HEADERS = ("Headrace-Stream-Id", "Location", "Retry-After")
"""What a page's script may read of a cross-origin answer (P33)."""


class Providers:
    """One provider per model server: models that differ only by name share its connections."""

    def __init__(self, config: Config, create: Factory) -> None:
        self._config = config
        self._by_server: dict[Model, Provider] = {}
        for entry in config.models:
            server = _server(entry)
            if server not in self._by_server:
                self._by_server[server] = create(entry, config)

    def route(self, model: str) -> Route | None:
        """The provider of a model and the model's name there: see `Router.route`."""
        entry = self._config.resolve(model)
        if entry is None:
            return None
        source = Source(entry.pattern, entry.provider)
        return Route(self._by_server[_server(entry)], entry.upstream_model, entry, source)

    async def start(self) -> None:
        """Open what makes first answers fast, all at once. Raises what a provider that cannot serve raises."""
        async with anyio.create_task_group() as tasks:
            for provider in self._by_server.values():
                tasks.start_soon(provider.start)

    async def close(self) -> None:
        """Close all, also when one of them fails to."""
        async with AsyncExitStack() as stack:
            for provider in self._by_server.values():
                stack.push_async_callback(provider.close)


def _server(entry: Model) -> Model:
    """What two entries must share to share a provider; a recording is a server of its own."""
    upstream = entry.upstream_model if entry.protocol == "replay" else ""
    return msgspec.structs.replace(
        entry, name="", upstream_model=upstream, on_disconnect=None, on_producer_loss="fail", wildcard=""
    )


# FastAPI's own would put every URL, and with /stream the prompt, into spans (P36), and cost each message a call.
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)


class _FastAPI(FastAPI):
    """With the values and the two ways to show a key in the document."""

    asks_for_keys: bool = False

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        document["components"] = {
            "schemas": components.SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        }
        open_to_all: list[dict[str, list[str]]] = [] if self.asks_for_keys else [{}]
        document["security"] = [{"bearer": []}, {"header": []}, *open_to_all]
        return document


def create_app(
    config: Config,
    *,
    store: StreamStore | None = None,
    clock: Clock | None = None,
    providers: Factory = create_provider,
    cut: anyio.Event | None = None,
    siblings: Siblings | None = None,
) -> ASGIApp:
    """The whole server; it starts with the ASGI lifespan.

    `providers` makes the provider of a configured model; models of one server share one. Setting `cut` ends a shutdown
    that lets streams run on (P11). `siblings` are the other workers, whose numbers `/metrics` has too.

    Raises:
        ConfigError: the configuration would let strangers in without keys (P33), or what it needs is not installed.
    """
    config.check_access()
    clock = clock or SystemClock()
    store = store or _store(config, clock)
    upstreams = Providers(config, providers)
    measured = Metrics()
    engine = Engine(config, store, clock, (measured, StreamLog()), upstreams, _archive(config))
    measured.watch(lambda: engine.load)
    services = Services(
        config=config,
        engine=engine,
        router=upstreams,
        access=Access(config),
        heartbeats=Heartbeats(clock, config.keepalive_seconds, config.write_timeout),
        metrics=measured,
        siblings=siblings,
    )
    read_tokens = ReadTokens(config.secret)
    app = _FastAPI(
        title="Headrace",
        version=__version__,
        summary="Every response is a durable stream with an id.",
        lifespan=_lifespan(services, upstreams, store, read_tokens, cut),
        redoc_url=None,
        docs_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.asks_for_keys = bool(config.api_keys)
    modules = (completions, token_count, responses, streams, export, prompt, models, health, metrics)
    routers = [*(module.router(services) for module in modules), tokens.router(services, read_tokens, clock.wall)]
    _add_routes(app, [*routers, playground.router()] if config.playground else routers)
    guard = Guard(Handover(app, _defect), services.access, read_tokens, engine, clock.wall)
    return Envelope(_with_cors(guard, config), measured.responded)


def _store(config: Config, clock: Clock) -> StreamStore:
    """The log that the configuration names."""
    if config.redis_url is None:
        return MemoryStore(
            now=clock.wall,
            retention=config.retention_seconds,
            max_stream_bytes=config.max_stream_log_bytes,
            max_bytes=config.max_log_bytes,
        )
    try:
        from headrace.stores.redis import RedisStore  # noqa: PLC0415 - an extra: most servers do without it
    except ModuleNotFoundError:
        raise ConfigError("redis_url needs a package more: pip install 'headrace[redis]'") from None
    return RedisStore(
        config.redis_url,
        now=clock.wall,
        sleep=clock.sleep,
        prefix=config.redis_prefix,
        patience=config.store_outage_timeout,
        retention=config.retention_seconds,
        max_stream_bytes=config.max_stream_log_bytes,
    )


def _archive(config: Config) -> Objects | None:
    """Where ended streams go."""
    if config.archive_url is None:
        return None
    try:
        from headrace.stores.objects import Place  # noqa: PLC0415 - an extra, and 16 MB of it
    except ModuleNotFoundError:
        raise ConfigError("archive_url needs a package more: pip install 'headrace[archive]'") from None
    return Place(config.archive_url)


def _add_routes(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Every route, and the one form of every error."""
    for router in routers:
        app.include_router(router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    async def unrouted(request: Request, _: Exception) -> Response:
        return _unrouted(request, routes)

    app.add_exception_handler(HTTPException, unrouted)
    app.add_exception_handler(HeadraceError, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


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


def _lifespan(  # noqa: ANN202 - Starlette's own type
    services: Services, providers: Providers, store: StreamStore, read_tokens: ReadTokens, cut: anyio.Event | None
):
    """Start providers, then the engine; drain and stop in the opposite order: every stream gets its terminal record."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            stack.push_async_callback(providers.close)
            await store.start()
            if services.config.secret is None:
                read_tokens.sign_with(await store.claim(SHARED_SECRET, secrets.token_urlsafe(32), FOR_EVER))
            await providers.start()
            await anyio.to_thread.run_sync(pricing.load)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(services.heartbeats.run)
                if services.siblings is not None:
                    tasks.start_soon(services.siblings.answer, services.metrics.registry)
                async with services.engine.running():
                    yield
                    await services.engine.drain(services.config.drain_timeout, cut)
                tasks.cancel_scope.cancel()

    return lifespan


async def _refused(request: Request, error: Exception) -> Response:
    """An error of ours in the shape that was called (P19)."""
    if not isinstance(error, HeadraceError):
        raise error
    return error_response(dialect_of(request.scope["path"]), error)


async def _gone(_: Request, __: Exception) -> Response:
    """The caller left while it sent its request: nobody reads this."""
    return Response(status_code=499)


async def _defect(request: Request, error: Exception) -> Response:
    """A mistake of ours: the trace is in the log, never in the answer."""
    scope = request.scope
    request_id: str = scope["headrace.request_id"]
    log.error("defect in %s %s, request %s", scope["method"], scope["path"], request_id, exc_info=error)
    scope[ANSWERED] = True
    return await _refused(request, InternalError("The server made a mistake; it is in its log."))


def _unrouted(request: Request, routes: Sequence[APIRoute]) -> Response:
    """No route, or none for the method; then `Allow` has those that there are, as RFC 9110 15.5.6 wants."""
    path: str = request.scope["path"]
    matching = [route for route in routes if route.path_regex.match(path)]
    # A path that is written out, as /v1/streams/cancel, is no id of the route beside it.
    matching = [route for route in matching if route.path == path] or matching
    allowed = sorted({method for route in matching for method in route.methods or ()})
    if not allowed:
        return error_response(dialect_of(path), NotFound(f"There is nothing at {path}."))
    error = MethodNotAllowed(f"{request.method} is not a method of {path}; it has {', '.join(allowed)}.")
    return error_response(dialect_of(path), error, headers={"allow": ", ".join(allowed)})
