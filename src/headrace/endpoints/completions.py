"""The shapes that answer a POST with the stream itself: one handler for all of them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headrace.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT
from headrace.dialects.base import Dialect
from headrace.endpoints import attach, schemas
from headrace.endpoints.handover import Handed
from headrace.endpoints.intake import Intake
from headrace.endpoints.services import Services
from headrace.transports.framing import SSE
from headrace.transports.http import WholeResponse, answer_response

SHAPES: tuple[tuple[str, Dialect], ...] = (
    ("/v1/chat/completions", OPENAI_CHAT),
    ("/v1/messages", ANTHROPIC_MESSAGES),
)
"""Path and shape; another API is one more row."""


def router(services: Services) -> APIRouter:
    """POST and GET of every shape."""
    routes = APIRouter(tags=["completions"])
    for path, dialect in SHAPES:
        _add(routes, services, path, dialect)
    return routes


def _add(routes: APIRouter, services: Services, path: str, dialect: Dialect) -> None:
    intake = Intake(services, dialect)

    async def create(request: Request) -> Response:
        asked = await intake.read(request)
        return intake.respond(request, asked, await intake.start(request, asked))

    async def read(request: Request, stream_id: str) -> Response:
        stream_id = attach.stream_of(stream_id)
        owner: str = request.scope["headrace.owner"]
        if attach.accepts(request, attach.SSE_TYPE):
            subscription = await services.engine.subscribe(stream_id, owner)
            with subscription.handing_over():
                start = await services.engine.first(stream_id)
                _, at = attach.position(request, dialect, start)
            framing = SSE(ids=at.prefix, retry=True, heartbeat=dialect.heartbeat)
            return await attach.read_view(services, subscription, framing, dialect, at)
        return await _whole(services, dialect, stream_id, owner)

    # A route of Starlette's, which is asked first: FastAPI's takes a third of a request's time for dependencies and
    # models that there are none of. Its own is for the document, and for the methods that there are not.
    routes.routes.append(Route(path, create, methods=["POST"]))
    documented: dict[str, Any] = schemas.documented(dialect.name)
    routes.add_api_route(path, create, methods=["POST"], summary=f"Create ({dialect.name})", **documented)
    routes.add_api_route(
        path + "/{stream_id}",
        read,
        methods=["GET"],
        summary=f"Read again ({dialect.name})",
        **schemas.read_again(dialect.name),
    )


async def _whole(services: Services, dialect: Dialect, stream_id: str, owner: str) -> Response:
    """The answer of an ended stream; 202 while it runs."""
    info = await services.engine.info(stream_id, owner)
    headers = {"headrace-stream-id": stream_id}
    if info.state == "running":
        # Whoever is told to come back is a reader between two looks: the grace of the disconnect policy starts anew.
        (await services.engine.subscribe(stream_id, owner)).close()
        body = {"id": dialect.prefix + stream_id, "state": info.state}
        return JSONResponse(body, 202, headers | {"retry-after": "1"})
    if info.state != "finished":
        headers["x-should-retry"] = "false"  # asking again gives the same stream again
    response = answer_response(dialect, await services.engine.answer(stream_id), headers)
    return Handed(WholeResponse(response, stream_id, services.heartbeats))
