"""`POST /v1/messages/count_tokens`: how long a prompt is, asked of the model's server or estimated."""

from __future__ import annotations

from typing import Any, cast

import anyio
import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.endpoints import schemas
from headrace.endpoints.body import read_body
from headrace.endpoints.intake import route_of
from headrace.endpoints.passed_on import headers_upstream
from headrace.endpoints.services import Services
from headrace.engine.order import Route
from headrace.engine.reading import parsed
from headrace.errors import UpstreamTimeout
from headrace.messages import Request as Asked
from headrace.providers.base import Counting
from headrace.transforms.estimate import input_tokens_of

PATH = "/v1/messages/count_tokens"


class _Reading:
    """A request that need not say how long its answer may be."""

    parse = ANTHROPIC_MESSAGES.parse_count
    parse_long = ANTHROPIC_MESSAGES.parse_long_count


def router(services: Services) -> APIRouter:
    """The one route."""
    routes = APIRouter(tags=["completions"])

    async def count_tokens(request: Request) -> Response:
        """Tokens of a prompt: the model server's count, or an estimate that says that it is one."""
        asked = await parsed(await read_body(request, services.config.max_request_bytes), _Reading())
        asked = msgspec.structs.replace(asked, headers=headers_upstream(ANTHROPIC_MESSAGES, request.headers))
        route = route_of(asked, services)
        if hasattr(route.provider, "count_tokens"):
            counted: dict[str, Any] = {"input_tokens": await _counted(services, asked, route)}
        else:
            counted = {"input_tokens": input_tokens_of(asked), "source": "estimated"}
        return Response(msgspec.json.encode(counted), media_type="application/json")

    routes.add_api_route(PATH, count_tokens, methods=["POST"], **schemas.COUNT_TOKENS)
    return routes


async def _counted(services: Services, asked: Asked, route: Route) -> int:
    """What the model server says, in the time that it has for a first token."""
    most = route.settings.ttft_timeout
    with anyio.CancelScope() as scope:
        timer = services.heartbeats.clock.call_later(most, scope.cancel)
        try:
            return await cast("Counting", route.provider).count_tokens(asked, route.upstream_model)
        finally:
            timer.cancel()
    text = f"The model server did not count within {most:g} s (ttft_timeout)."
    raise UpstreamTimeout(text, code="upstream_ttft_timeout")
