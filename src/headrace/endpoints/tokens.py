"""`POST /v1/streams/{id}/token`: permission to read one stream, for who cannot send a key or shall not have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.dialects.base import check_utf8, read_json
from headrace.endpoints import attach, schemas
from headrace.endpoints.body import has_body, read_body
from headrace.endpoints.services import Services
from headrace.errors import PayloadTooLarge
from headrace.policy.read_token import LONGEST_TTL, ReadTokens


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["read"] = "read"
    ttl_s: Annotated[int, Meta(ge=1, le=LONGEST_TTL)] = LONGEST_TTL


_decode = msgspec.json.Decoder(_Body).decode


def router(services: Services, tokens: ReadTokens, now: Callable[[], float]) -> APIRouter:
    """The one route; `now` is Unix time."""
    routes = APIRouter(tags=["streams"])

    async def token(request: Request, stream_id: str) -> Response:
        """A token that reads this stream, for its owner to hand on."""
        asked = await _read(request, services.config.max_request_bytes)
        stream_id = attach.stream_of(stream_id)
        await services.engine.info(stream_id, request.scope["headrace.owner"])
        expires = int(now()) + asked.ttl_s
        made = tokens.make(stream_id, expires)
        url = f"/v1/streams/{stream_id}/events?token={made}"
        answer = {"token": made, "mode": asked.mode, "expires_at": expires, "url": url}
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    routes.add_api_route("/v1/streams/{stream_id}/token", token, methods=["POST"], **schemas.TOKEN_FOR_READING)
    return routes


async def _read(request: Request, limit: int) -> _Body:
    if not has_body(request):
        return _Body()
    data = await read_body(request, limit)
    if not isinstance(data, bytes):
        raise PayloadTooLarge("The body has a mode and a number of seconds.")
    check_utf8(data)
    return read_json(_decode, data)
