"""A stream's whole log as lines, for its owner: who asked what, what was answered and when, and how it ended."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from headrace.endpoints import attach, schemas
from headrace.endpoints.handover import Handed
from headrace.endpoints.services import Services
from headrace.errors import BadRequest
from headrace.transports.export import ExportResponse

RETRY_AFTER_S = 1


def router(services: Services) -> APIRouter:
    """The one route."""
    routes = APIRouter(tags=["streams"])

    async def export(request: Request, stream_id: str) -> Response:
        """Every record with its time, the request and the cost; the last line says that all of it came."""
        partial = _partial(request)
        engine = services.engine
        owner: str = request.scope["headrace.owner"]
        info = await engine.info(attach.stream_of(stream_id), owner)
        headers = {"headrace-stream-id": info.id}
        if info.state == "running" and not partial:
            body = msgspec.json.encode({"id": info.id, "state": info.state})
            return Response(body, 202, headers | {"retry-after": str(RETRY_AFTER_S)}, "application/json")
        headers["content-disposition"] = f'attachment; filename="{info.id}.ndjson"'
        pieces = await engine.exported(info)
        # Of a running stream no reader: one that comes and goes would start its grace time anew (P8).
        subscription = None if info.state == "running" else await engine.subscribe(info.id, owner)
        return Handed(ExportResponse(info.id, pieces, services.heartbeats, headers=headers, subscription=subscription))

    routes.add_api_route("/v1/streams/{stream_id}/export", export, methods=["GET"], **schemas.EXPORT)
    return routes


def _partial(request: Request) -> bool:
    text = request.query_params.get("partial", "false")
    if text not in ("1", "true", "0", "false"):
        raise BadRequest("partial is true or false.", param="partial")
    return text in ("1", "true")
