"""The streams API: make, list, look at, read in any format, stop, remove."""

from __future__ import annotations

import contextlib
from typing import Any, cast, get_args

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from headrace.dialects import NATIVE
from headrace.dialects.base import check_utf8, read_json
from headrace.dialects.native import answer_object
from headrace.endpoints import attach, prompt, responses, schemas
from headrace.endpoints.body import check_media_type, has_body, read_body
from headrace.endpoints.completions import SHAPES
from headrace.endpoints.handover import Handed
from headrace.endpoints.intake import Intake, stream_headers
from headrace.endpoints.services import Services
from headrace.engine.idempotency import claim_name
from headrace.errors import BadRequest, NotFound, PayloadTooLarge
from headrace.events import Answer, StepStart
from headrace.policy import disconnect
from headrace.policy.auth import checked_token
from headrace.policy.pricing import cost_of
from headrace.stores.base import StreamInfo, StreamState
from headrace.transports.framing import SSE
from headrace.transports.http import StreamResponse, WholeResponse
from headrace.transports.reader import Reader, start_of

PATH = "/v1/streams"
_STATES = get_args(StreamState)
ROUTES = (PATH, *(path for path, _ in SHAPES), responses.PATH, prompt.PATH)
"""Where streams are made: an idempotency key belongs to one of them."""


class _CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    idempotency_key: str
    route: str | None = None


_decode_cancel = msgspec.json.Decoder(_CancelBody).decode


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _owner(request: Request) -> str:
    return request.scope["headrace.owner"]


class Streams:
    """The handlers; one per route."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engine = services.engine
        self._intake = Intake(services, NATIVE, disconnect.CONTINUE)

    async def create(self, request: Request) -> Response:
        """Start a stream and answer with its id at once, or with the stream itself if it is asked for."""
        asked = await self._intake.read(request)
        as_stream = asked.stream or attach.accepts(request, attach.SSE_TYPE)
        started = await self._intake.start(request, asked, read=as_stream)
        headers = stream_headers(NATIVE, started)
        if as_stream:
            at = start_of(NATIVE, "")
            reader = Reader(started.subscription, NATIVE, at)
            return Handed(StreamResponse(reader, SSE(ids=at.prefix), self._services.heartbeats, headers=headers))
        started.subscription.close()
        info = await self._engine.info(started.stream_id, _owner(request))
        body = {"id": info.id, "state": info.state, "model": asked.model, "location": headers["location"]}
        return _json(body, 200 if started.replayed else 201, headers)

    async def list(self, request: Request) -> Response:
        """The caller's streams, newest first."""
        query = request.query_params
        state = query.get("state")
        if state is not None and state not in _STATES:
            raise BadRequest(f"state is one of {', '.join(_STATES)}.", param="state")
        limit = attach.page_size(query.get("limit"))
        before = query.get("before")
        after_page = None if before is None else attach.stream_of(before, "before")
        try:
            found = await self._engine.list(_owner(request), cast("StreamState | None", state), after_page, limit + 1)
        except NotFound as error:
            raise NotFound(error.message, param="before") from error
        page = found[:limit]
        more = len(found) > len(page)
        rows: list[dict[str, Any]] = []
        for info in page:
            with contextlib.suppress(NotFound):  # it went away after it was found
                rows.append(await self._row(info))
        return _json({"data": rows, "has_more": more, "next": page[-1].id if more else None})

    async def _row(self, info: StreamInfo) -> dict[str, Any]:
        start = await self._engine.first(info.id)
        return {
            "id": info.id,
            "state": info.state,
            "model": start.model,
            "dialect": start.dialect,
            "created_ms": info.created_ms,
            "ended_ms": info.ended_ms,
            "position": info.next_seq,
            "bytes": info.bytes,
            "readers": self._engine.readers(info.id),
            "metadata": start.meta,
        }

    async def read(self, request: Request, stream_id: str) -> Response:
        """State, text so far, usage, position and readers of one stream."""
        return self._whole(await self._state(attach.stream_of(stream_id), _owner(request)))

    def _whole(self, state: dict[str, Any], status: int = 200) -> Response:
        return Handed(WholeResponse(_json(state, status), state["id"], self._services.heartbeats))

    async def _state(self, stream_id: str, owner: str) -> dict[str, Any]:
        info = await self._engine.info(stream_id, owner)
        row = await self._row(info)
        answer = await self._engine.answer(stream_id)
        return row | answer_object(answer) | {"cost_usd": await self._cost(answer)}

    async def _cost(self, answer: Answer) -> float | None:
        """List price of the tokens so far; None where there is none, or nobody knows it."""
        record = await self._engine.beginning(answer.start.id)
        if record is None or answer.usage is None:
            return None
        step = next(event for event in record.events if isinstance(event, StepStart))
        return cost_of(answer.usage, step.provider, step.model)

    async def events(self, request: Request, stream_id: str) -> Response:
        """The stream in any format, from any position, while it runs or after it has ended."""
        wanted = attach.asked_format(request)
        subscription = await self._engine.subscribe(attach.stream_of(stream_id), _owner(request))
        with subscription.handing_over():
            start = await self._engine.first(subscription.stream_id)
            dialect, at = attach.position(request, wanted, start)
            framing = attach.framing_for(request, dialect, at.prefix)
        return await attach.read_view(self._services, subscription, framing, dialect, at)

    async def cancel(self, request: Request, stream_id: str) -> Response:
        """Stop a stream; what it said stays readable. 202 when its node has not confirmed yet."""
        if has_body(request):
            check_media_type(request)
        stream_id = attach.stream_of(stream_id)
        ended = await self._engine.cancel(stream_id, _owner(request))
        return self._whole(await self._state(stream_id, _owner(request)), 200 if ended else 202)

    async def cancel_by_key(self, request: Request) -> Response:
        """Stop the stream that an idempotency key belongs to, on one route or on whichever holds it."""
        data = await read_body(request, self._services.config.max_request_bytes)
        if not isinstance(data, bytes):
            raise PayloadTooLarge("The body has one key, of 128 characters at most.")
        check_utf8(data)
        body = read_json(_decode_cancel, data)
        key = checked_token(body.idempotency_key, "idempotency_key")
        if body.route is not None and body.route not in ROUTES:
            raise BadRequest(f"route is one of {', '.join(ROUTES)}.", param="route")
        owner = _owner(request)
        for route in ROUTES if body.route is None else (body.route,):
            try:
                stream_id = await self._engine.cancel_by_key(owner, claim_name(owner, route, key))
            except NotFound:
                continue
            state = await self._state(stream_id, owner)
            return self._whole(state, 202 if state["state"] == "running" else 200)
        raise NotFound("No stream has this idempotency key.")

    async def delete(self, request: Request, stream_id: str) -> Response:
        """Remove a stream; a running one is stopped first."""
        await self._engine.delete(attach.stream_of(stream_id), _owner(request))
        return Response(status_code=204)


def router(services: Services) -> APIRouter:
    """All routes under `/v1/streams`."""
    handlers = Streams(services)
    routes = APIRouter(tags=["streams"])
    one = PATH + "/{stream_id}"
    created: dict[str, Any] = schemas.documented(NATIVE.name)
    routes.add_api_route(PATH, handlers.create, methods=["POST"], status_code=201, **created)
    routes.add_api_route(PATH, handlers.list, methods=["GET"], **schemas.LIST)
    routes.add_api_route(PATH + "/cancel", handlers.cancel_by_key, methods=["POST"], **schemas.STOP_BY_KEY)
    routes.add_api_route(one, handlers.read, methods=["GET"], **schemas.READ)
    routes.add_api_route(one, handlers.delete, methods=["DELETE"], status_code=204, **schemas.DELETE)
    routes.add_api_route(one + "/events", handlers.events, methods=["GET"], **schemas.EVENTS)
    routes.add_api_route(one + "/cancel", handlers.cancel, methods=["POST"], **schemas.STOP)
    return routes
