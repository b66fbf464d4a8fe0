"""A request's way in: its body, its headers, the stream it makes."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.bodies import LongBody
from headrace.codecs import NOT_JSON
from headrace.config import Disconnect
from headrace.dialects import ANTHROPIC_MESSAGES, NATIVE, OPENAI_CHAT, OPENAI_RESPONSES
from headrace.dialects.base import Dialect, invalid_json
from headrace.endpoints.body import read_body
from headrace.endpoints.conversation import Conversations
from headrace.endpoints.handover import Handed
from headrace.endpoints.passed_on import headers_upstream
from headrace.endpoints.services import Services
from headrace.engine.engine import Started
from headrace.engine.idempotency import IdempotencyKey, claim_name, digest_of_long
from headrace.engine.order import Order, Route
from headrace.engine.reading import in_steps, parsed
from headrace.errors import BadRequest, NotFound
from headrace.messages import Request as Asked
from headrace.policy import disconnect
from headrace.policy.auth import checked_token
from headrace.transports.framing import SSE
from headrace.transports.http import AnswerResponse, StreamResponse
from headrace.transports.reader import Reader, start_of

LOCATIONS = {
    NATIVE.name: "/v1/streams/",
    OPENAI_CHAT.name: "/v1/chat/completions/",
    ANTHROPIC_MESSAGES.name: "/v1/messages/",
    OPENAI_RESPONSES.name: "/v1/responses/",
}
"""Where a stream of each creating shape is read again."""

_SHAPES = (("/v1/messages", ANTHROPIC_MESSAGES), ("/v1/responses", OPENAI_RESPONSES))
_OPENAI = ("/v1/chat/", "/v1/models")

_LONGEST_MODEL = 256
"""Characters of a model's name: every chunk repeats it, and where a wildcard is served any name is taken."""
_LARGEST_METADATA = 16 * 1024
"""Characters of all names and values: lists repeat them. OpenAI takes 16 pairs of 64 and 512."""


def dialect_of(path: str) -> Dialect:
    """The shape whose errors a path answers with."""
    for begin, dialect in _SHAPES:
        if path == begin or path.startswith(begin + "/"):
            return dialect
    return OPENAI_CHAT if path.startswith(_OPENAI) else NATIVE


class Intake:
    """One POST that makes a stream, in any shape."""

    def __init__(self, services: Services, dialect: Dialect, default_policy: Disconnect | None = None) -> None:
        """Without `default_policy`, the foreground shapes' defaults hold (P8)."""
        self._services = services
        self._dialect = dialect
        self._default = default_policy
        self._conversations = Conversations(services)

    async def read(self, request: Request) -> Asked:
        """The request in the body. Raises `BadRequest`."""
        asked = await parsed(await read_body(request, self._services.config.max_request_bytes), self._dialect)
        own = headers_upstream(self._dialect, request.headers)
        return msgspec.structs.replace(asked, headers=own) if own else asked

    async def _continued(self, asked: Asked, previous: str, owner: str) -> Asked:
        """A request with what was said before it; the store and the answer have it as it came."""
        body = await self._conversations.continued(asked, previous, owner)
        whole = await parsed(body, self._dialect)
        as_sent = asked.body.body if isinstance(asked.body, LongBody) else asked.body
        return msgspec.structs.replace(whole, echo=asked.echo, as_sent=as_sent)

    async def start(self, request: Request, asked: Asked, *, read: bool = True) -> Started:
        """Make, or join, the stream of a request; nothing was sent upstream when this raises (P25).

        `read` is False where the caller takes only the stream's id.
        """
        route = route_of(asked, self._services)
        owner: str = request.scope["headrace.owner"]
        key = await _idempotency_key(request, owner, asked.body)
        if asked.previous is not None:
            asked = await self._continued(asked, asked.previous, owner)
        route.provider.check(asked)
        policy = self._policy(request, asked, has_key=key is not None)
        if not read:
            policy = disconnect.unread(policy)
        request_id: str | None = request.scope.get("headrace.request_id")
        order = Order(request=asked, owner=owner, policy=policy, route=route, key=key, request_id=request_id)
        return await self._services.engine.start(order)

    def _policy(self, request: Request, asked: Asked, *, has_key: bool) -> Disconnect:
        """What the last reader's leaving will mean (P8)."""
        default = self._default or disconnect.shape_default(
            stream=asked.stream, has_key=has_key, background=asked.background
        )
        model = self._services.model(asked.model)
        return disconnect.decide(
            request.headers.get(disconnect.HEADER), model.on_disconnect if model is not None else None, default
        )

    def respond(self, request: Request, asked: Asked, started: Started) -> Response:
        """The shape's own answer: a stream if it was asked for, otherwise one body at the end."""
        headers = stream_headers(self._dialect, started)
        if not asked.stream:
            replayable = "idempotency-key" in request.headers
            heartbeats = self._services.heartbeats
            answer = AnswerResponse(
                started.subscription, self._dialect, heartbeats, headers=headers, replayable=replayable
            )
            return Handed(answer)
        cursor = start_of(self._dialect, asked.params)
        wants_ids = request.headers.get("headrace-ids") == "1" or request.query_params.get("ids") == "1"
        stream = StreamResponse(
            Reader(started.subscription, self._dialect, cursor),
            SSE(ids=cursor.prefix if wants_ids else None, heartbeat=self._dialect.heartbeat),
            self._services.heartbeats,
            headers=headers,
            hold=None if asked.background else self._services.config.header_hold,
        )
        return Handed(stream)


def stream_headers(dialect: Dialect, started: Started) -> dict[str, str]:
    """The id, and where to read the stream again (P1)."""
    headers = {
        "headrace-stream-id": started.stream_id,
        "location": LOCATIONS[dialect.name] + dialect.prefix + started.stream_id,
    }
    if started.replayed:
        headers["idempotent-replayed"] = "true"
    return headers


def route_of(asked: Asked, services: Services) -> Route:
    """Where a request goes.

    Raises:
        BadRequest: what is kept beside its body is too large.
        NotFound: its model is not served.
    """
    _check_sizes(asked)
    route = services.router.route(asked.model)
    if route is None:
        raise NotFound(
            f"The model {asked.model!r} is not served here; GET /v1/models lists what is.",
            code="model_not_found",
            param="model",
        )
    return route


def _check_sizes(asked: Asked) -> None:
    """Refuse what is kept beside the body, and sent again and again, when it is large. Raises `BadRequest`."""
    if len(asked.model) > _LONGEST_MODEL:
        raise BadRequest(f"model is at most {_LONGEST_MODEL} characters.", param="model")
    if sum(len(name) + len(value) for name, value in asked.metadata.items()) > _LARGEST_METADATA:
        raise BadRequest(f"metadata is at most {_LARGEST_METADATA} characters in all.", param="metadata")


async def _idempotency_key(request: Request, owner: str, body: bytes | LongBody) -> IdempotencyKey | None:
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    checked = checked_token(text, "Idempotency-Key")
    route: str = request.scope["path"]
    # Reading every value, where the shape reads only the fields it knows, can fail: a number beyond all limits.
    try:
        if isinstance(body, bytes):
            return IdempotencyKey.of(owner, route, checked, body)
        return IdempotencyKey(claim_name(owner, route, checked), await in_steps(digest_of_long(body)))
    except NOT_JSON as problem:
        raise invalid_json(problem) from problem
