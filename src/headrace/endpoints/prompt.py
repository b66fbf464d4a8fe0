"""`GET /stream?prompt=`: for a browser's plain EventSource and for `curl -N`.

A GET that starts something must survive being sent twice: every frame's id is `<stream id>:<cursor>`, so a browser's
own reconnect to the same URL carries the stream's name and resumes, instead of asking the model again.
"""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from headrace.dialects import NATIVE, OPENAI_CHAT
from headrace.endpoints import attach, schemas
from headrace.endpoints.handover import Handed
from headrace.endpoints.intake import Intake, stream_headers
from headrace.endpoints.services import Services
from headrace.errors import BadRequest, InvalidCursor
from headrace.policy import disconnect
from headrace.transports.http import StreamResponse
from headrace.transports.reader import Reader, start_of

PATH = "/stream"
LONGEST_PROMPT = 2000
"""Characters: what every browser and proxy takes in a URL."""


def router(services: Services) -> APIRouter:
    """The one route."""
    intake = Intake(services, NATIVE, disconnect.GRACE)

    async def stream(request: Request) -> Response:
        """Ask a model and stream the answer; a reconnect with `Last-Event-ID` resumes it."""
        kept = attach.asked_cursor(request)
        if kept is not None:
            return await _resume(services, request, kept)
        return await _begin(services, intake, request)

    routes = APIRouter(tags=["streams"])
    routes.add_api_route(PATH, stream, methods=["GET"], **schemas.PROMPT)
    return routes


async def _resume(services: Services, request: Request, kept: str) -> Response:
    public_id, colon, text = kept.partition(":")
    if not colon:
        raise InvalidCursor(
            "Ids of /stream are <stream id>:<cursor>; send the last one as it was.", param="last_event_id"
        )
    stream_id = attach.stream_of(public_id)
    subscription = await services.engine.subscribe(stream_id, request.scope["headrace.owner"])
    with subscription.handing_over():
        dialect, at = attach.resume_cursor(text, attach.asked_format(request))
        framing = attach.framing_for(request, dialect, f"{stream_id}:{at.prefix}")
    return await attach.read_view(services, subscription, framing, dialect, at)


async def _begin(services: Services, intake: Intake, request: Request) -> Response:
    prompt = request.query_params.get("prompt", "")
    if not 1 <= len(prompt) <= LONGEST_PROMPT:
        raise BadRequest(f"prompt is 1 to {LONGEST_PROMPT} characters.", param="prompt")
    model = request.query_params.get("model") or next(iter(services.config.model_names), "")
    if not model:
        raise BadRequest("model is missing, and this server has no default: add &model=NAME.", param="model")
    dialect = attach.asked_format(request) or OPENAI_CHAT
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True})
    asked = NATIVE.parse(body)
    started = await intake.start(request, asked)
    at = start_of(dialect, "")
    framing = attach.framing_for(request, dialect, f"{started.stream_id}:{at.prefix}")
    stream = StreamResponse(
        Reader(started.subscription, dialect, at),
        framing,
        services.heartbeats,
        headers=stream_headers(NATIVE, started),
        hold=services.config.header_hold,
    )
    return Handed(stream)
