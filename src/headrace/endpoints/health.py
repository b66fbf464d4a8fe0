"""Liveness and readiness, without a key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from headrace.endpoints import schemas
from headrace.endpoints.services import Services
from headrace.errors import Overloaded

PATHS = frozenset({"/health", "/health/ready"})


def router(services: Services) -> APIRouter:
    """`/health` says that the process answers, `/health/ready` that it takes new streams."""
    routes = APIRouter(tags=["health"])

    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    async def ready() -> Response:
        refusal = services.engine.refusal
        if refusal is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "stopping" if isinstance(refusal, Overloaded) else refusal.error_code}, 503)

    for path, handler, documented in (("/health", health, schemas.HEALTH), ("/health/ready", ready, schemas.READY)):
        routes.add_api_route(path, handler, methods=["GET"], **documented)
        # On its own: FastAPI documents every method of a route under one and the same operationId.
        routes.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)
    return routes
