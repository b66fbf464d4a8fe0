"""A request's way in: its body, its headers, the stream it makes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from headrace.config import Disconnect
from headrace.dialects import NATIVE, OPENAI_CHAT
from headrace.dialects.base import Dialect, invalid_json
from headrace.endpoints.services import Services
from headrace.engine.engine import Order, Started
from headrace.engine.idempotency import IdempotencyKey
from headrace.errors import HeadraceError, NotFound, PayloadTooLarge, UnsupportedMediaType
from headrace.messages import Request as Asked
from headrace.policy import disconnect
from headrace.policy.auth import checked_token
from headrace.transports.framing import SSE
from headrace.transports.http import AnswerResponse, StreamResponse, error_response
from headrace.transports.reader import Reader, start_of

LOCATIONS = {NATIVE.name: "/v1/streams/", OPENAI_CHAT.name: "/v1/chat/completions/"}
"""Where a stream of each creating shape is read again."""


def dialect_of(path: str) -> Dialect:
    """The shape whose errors a path answers with."""
    return OPENAI_CHAT if path.startswith(("/v1/chat/", "/v1/models")) else NATIVE


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes.

    Raises:
        UnsupportedMediaType: it is not declared as JSON (P33).
        PayloadTooLarge: it is longer.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("Send the body as Content-Type: application/json.", param="content-type")
    too_large = PayloadTooLarge(f"The body is over {limit} bytes (max_request_bytes).")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


class Intake:
    """One POST that makes a stream, in any shape."""

    def __init__(self, services: Services, dialect: Dialect, default_policy: Disconnect | None = None) -> None:
        """Without `default_policy`, the foreground shapes' defaults hold (P8)."""
        self._services = services
        self._dialect = dialect
        self._default = default_policy

    async def read(self, request: Request) -> Asked:
        """The request in the body. Raises `BadRequest`."""
        return self._dialect.parse(await read_body(request, self._services.config.max_request_bytes))

    async def start(self, request: Request, asked: Asked) -> Started:
        """Make, or join, the stream of a request; nothing was sent upstream when this raises (P25)."""
        headers = request.headers
        route = self._services.router.route(asked.model)
        if route is None:
            raise NotFound(
                f"The model {asked.model!r} is not served here; GET /v1/models lists what is.",
                code="model_not_found",
                param="model",
            )
        key_text = headers.get("idempotency-key")
        owner: str = request.scope["headrace.owner"]
        key = None
        if key_text is not None:
            checked = checked_token(key_text, "Idempotency-Key")
            key = IdempotencyKey.of(owner, request.scope["path"], checked, asked.body)
        model = self._services.model(asked.model)
        default = self._default or disconnect.shape_default(stream=asked.stream, has_key=key is not None)
        policy = disconnect.decide(
            headers.get(disconnect.HEADER), model.on_disconnect if model is not None else None, default
        )
        order = Order(request=asked, owner=owner, policy=policy, route=route, key=key)
        return await self._services.engine.start(order)

    def respond(self, request: Request, asked: Asked, started: Started) -> Response:
        """The shape's own answer: a stream if it was asked for, otherwise one body at the end."""
        headers = stream_headers(self._dialect, started)
        if not asked.stream:
            replayable = "idempotency-key" in request.headers
            return AnswerResponse(started.subscription, self._dialect, headers=headers, replayable=replayable)
        cursor = start_of(self._dialect, asked.params)
        wants_ids = request.headers.get("headrace-ids") == "1" or request.query_params.get("ids") == "1"
        return StreamResponse(
            Reader(started.subscription, self._dialect, cursor),
            SSE(ids=cursor.prefix if wants_ids else None),
            self._services.heartbeats,
            headers=headers,
            hold=self._services.config.header_hold,
        )


def stream_headers(dialect: Dialect, started: Started) -> dict[str, str]:
    """The id, and where to read the stream again (P1)."""
    headers = {
        "headrace-stream-id": started.stream_id,
        "location": LOCATIONS[dialect.name] + dialect.prefix + started.stream_id,
    }
    if started.replayed:
        headers["idempotent-replayed"] = "true"
    return headers


def failure(request: Request, error: Exception) -> Response:
    """Any error that an endpoint raised, in the form of the shape that was called."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)
    if not isinstance(error, HeadraceError):
        raise error
    return error_response(dialect_of(request.scope["path"]), error)


def decode_json(body: bytes, kind: Any) -> Any:
    """A small JSON body of ours. Raises `BadRequest` naming the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise invalid_json(problem) from problem
