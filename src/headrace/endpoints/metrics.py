"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from headrace.endpoints import schemas
from headrace.endpoints.services import Services

PATH = "/metrics"


def router(services: Services) -> APIRouter:
    """The one route. With configured keys it asks for one: traffic is nobody else's business."""
    routes = APIRouter(tags=["operation"])
    own, siblings = services.metrics.registry, services.siblings

    async def metrics(request: Request) -> Response:
        """The server's numbers, as text or as OpenMetrics, whichever `Accept` prefers."""
        registry = own if siblings is None else await siblings.collect(own)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": media_type})

    routes.add_api_route(PATH, metrics, methods=["GET"], **schemas.METRICS)
    return routes
