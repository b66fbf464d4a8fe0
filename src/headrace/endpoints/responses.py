"""`/v1/responses`: OpenAI's Responses, whose answers are objects with a state, there from the beginning on."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.bodies import LongBody, Pieces
from headrace.dialects import OPENAI_RESPONSES
from headrace.dialects.cursor import Cursor
from headrace.dialects.openai_responses.input_items import Page, batches
from headrace.endpoints import attach, schemas
from headrace.endpoints.body import check_media_type, has_body
from headrace.endpoints.handover import Handed
from headrace.endpoints.intake import Intake, stream_headers
from headrace.endpoints.services import Services
from headrace.engine.reading import gathered, in_steps, stepwise
from headrace.errors import BadRequest, InvalidCursor, NotFound
from headrace.events import StreamStart
from headrace.transports.framing import SSE
from headrace.transports.http import WholeResponse

PATH = "/v1/responses"
AFTER = "starting_after"
_JSON = "application/json"
_YES, _NO = ("true", "1"), ("false", "0")


class Responses:
    """The handlers; one per route."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engine = services.engine
        self._intake = Intake(services, OPENAI_RESPONSES)

    async def create(self, request: Request) -> Response:
        """Ask, and answer with the stream, the whole answer, or in the background with its state at once."""
        asked = await self._intake.read(request)
        only_state = asked.background and not asked.stream
        started = await self._intake.start(request, asked, read=not only_state)
        if not only_state:
            return self._intake.respond(request, asked, started)
        started.subscription.close()
        return await self._state(started.stream_id, headers=stream_headers(OPENAI_RESPONSES, started))

    async def read(self, request: Request, stream_id: str) -> Response:
        """The answer with its state, whatever that is, or the stream from a position on."""
        after = attach.whole_number(request, AFTER, "a sequence number")
        subscription = await self._engine.subscribe(attach.stream_of(stream_id), _owner(request))
        with subscription.handing_over():
            if not _as_stream(request):
                state = await self._state(subscription.stream_id)
                subscription.close()  # whoever looks is a reader between two looks: the grace starts anew
                return state
            at = _position(request, await self._engine.first(subscription.stream_id), after)
        framing = SSE(ids=at.prefix, retry=True, heartbeat=OPENAI_RESPONSES.heartbeat)
        try:
            return await attach.read_view(self._services, subscription, framing, OPENAI_RESPONSES, at)
        except InvalidCursor as error:
            raise InvalidCursor(error.message, param=_cursor_param(request)) from error

    async def _state(self, stream_id: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        answer = await self._engine.answer(stream_id)
        fields = {"headrace-stream-id": stream_id, **(headers or {})}
        response = Response(OPENAI_RESPONSES.answer(answer), status, fields, _JSON)
        return Handed(WholeResponse(response, stream_id, self._services.heartbeats))

    async def cancel(self, request: Request, stream_id: str) -> Response:
        """Stop it; what it said stays readable. 202 when its node has not confirmed yet."""
        if has_body(request):
            check_media_type(request)
        stream_id = attach.stream_of(stream_id)
        ended = await self._engine.cancel(stream_id, _owner(request))
        return await self._state(stream_id, 200 if ended else 202)

    async def delete(self, request: Request, stream_id: str) -> Response:
        """Remove it; one that runs is stopped first."""
        stream_id = attach.stream_of(stream_id)
        await self._engine.delete(stream_id, _owner(request))
        gone = {"id": OPENAI_RESPONSES.prefix + stream_id, "object": "response", "deleted": True}
        return Response(msgspec.json.encode(gone), media_type=_JSON)

    async def input_items(self, request: Request, stream_id: str) -> Response:
        """What the request said, a page at a time, without what it continued."""
        page = _page(request)
        stream_id = attach.stream_of(stream_id)
        await self._engine.info(stream_id, _owner(request))
        start = await self._engine.first(stream_id)
        body = await self._engine.request(stream_id)
        if start.dialect != OPENAI_RESPONSES.name or not body:
            raise NotFound("The input of this response was not stored.")
        asked = await gathered(stepwise(body.parts if isinstance(body, Pieces) else (body,)))
        await in_steps(_added(page, asked, stream_id))
        if not page.met:
            raise BadRequest("after is the id of an item of the input.", param="after")
        response = Response(page.json(asked), media_type=_JSON)
        return Handed(WholeResponse(response, stream_id, self._services.heartbeats))


def _owner(request: Request) -> str:
    return request.scope["headrace.owner"]


def _added(page: Page, asked: bytes | LongBody, stream_id: str) -> Generator[None, None, None]:
    for batch in batches(asked, stream_id):
        page.add(batch)
        if page.full:
            return
        yield


def _page(request: Request) -> Page:
    """The page of items that a query asks for. Raises `BadRequest`."""
    query = request.query_params
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("order is asc or desc.", param="order")
    return Page(limit=attach.page_size(query.get("limit")), after=query.get("after"), newest_first=order == "desc")


def _as_stream(request: Request) -> bool:
    """Whether the frames are asked for, not the object. Raises `BadRequest`."""
    asked = request.query_params.get("stream", "false")
    if asked not in (*_YES, *_NO):
        raise BadRequest("stream is true or false.", param="stream")
    return asked in _YES or attach.accepts(request, attach.SSE_TYPE)


def _position(request: Request, start: StreamStart, after: int) -> Cursor:
    """Frames that the caller has: those up to the sequence number `after`, or the cursor that it kept."""
    _, at = attach.position(request, OPENAI_RESPONSES, start)
    return msgspec.structs.replace(at, position=after + 1) if _cursor_param(request) == AFTER else at


def _cursor_param(request: Request) -> str:
    """What the position was said with: a kept cursor wins."""
    return AFTER if AFTER in request.query_params and attach.asked_cursor(request) is None else "last_event_id"


def router(services: Services) -> APIRouter:
    """All routes under `/v1/responses`."""
    handlers = Responses(services)
    routes = APIRouter(tags=["responses"])
    one = PATH + "/{stream_id}"
    # First one of Starlette's own, for speed: see `completions`.
    routes.routes.append(Route(PATH, handlers.create, methods=["POST"]))
    created: dict[str, Any] = schemas.documented(OPENAI_RESPONSES.name)
    routes.add_api_route(PATH, handlers.create, methods=["POST"], **created)
    routes.add_api_route(one, handlers.read, methods=["GET"], **schemas.READ_RESPONSE)
    routes.add_api_route(one, handlers.delete, methods=["DELETE"], **schemas.DELETE_RESPONSE)
    routes.add_api_route(one + "/cancel", handlers.cancel, methods=["POST"], **schemas.CANCEL_RESPONSE)
    routes.add_api_route(one + "/input_items", handlers.input_items, methods=["GET"], **schemas.INPUT_ITEMS)
    return routes
