"""A reader's way in: which view of which stream, from where, in which bytes."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from headrace.dialects import BY_CODE, DIALECTS, NATIVE, TEXT, bare_id, cursor
from headrace.dialects.base import Dialect
from headrace.dialects.cursor import Cursor
from headrace.endpoints.handover import Handed
from headrace.endpoints.services import Services
from headrace.engine.subscription import Subscription
from headrace.errors import BadRequest, InvalidCursor, NotFound
from headrace.events import RENDER_VERSION, Finished, StreamStart
from headrace.transports.framing import NDJSON, SSE, Framing, PlainText
from headrace.transports.http import StreamResponse, error_response, terminal_error
from headrace.transports.reader import Reader, start_of

SSE_TYPE = "text/event-stream"
NDJSON_TYPE = "application/x-ndjson"
TEXT_TYPE = "text/plain"
_LONGEST_NUMBER = 12
_PAGE = 20
_LARGEST_PAGE = 100
_LONGEST_ECHO = 128
_STREAM_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_REFUSED = re.compile(r"q=0(\.0*)?", re.ASCII)


def stream_of(public_id: str, param: str | None = None) -> str:
    """The stream id inside a public one, in whatever shape.

    Raises:
        NotFound: no stream can have it; the store is not asked, and the answer is that of an unknown id (P32).
    """
    stream_id = bare_id(public_id)
    if _STREAM_ID.fullmatch(stream_id) is None:
        raise NotFound(f"There is no stream {stream_id[:_LONGEST_ECHO]}.", param=param)
    return stream_id


def accepts(request: Request, media_type: str) -> bool:
    """Whether the caller names this media type; `*/*` names none, and `q=0` takes a name back."""
    for each in request.headers.get("accept", "").lower().split(","):
        name, *params = each.replace(" ", "").split(";")
        if name == media_type and not any(_REFUSED.fullmatch(param) for param in params):
            return True
    return False


def asked_cursor(request: Request) -> str | None:
    """The position that the client kept: the header that browsers send, or the query for those that cannot."""
    return request.headers.get("last-event-id") or request.query_params.get("last_event_id") or None


def resume_cursor(text: str, dialect: Dialect | None) -> tuple[Dialect, Cursor]:
    """A kept position as the view it belongs to.

    Raises:
        InvalidCursor: not one of ours, of another version, or of another format than the one that was asked for.
    """
    kept = cursor.parse(text)
    owner = BY_CODE.get(kept.code)
    if owner is None or kept.version != RENDER_VERSION or set(kept.params) - set(owner.params):
        raise InvalidCursor("This cursor is of a view that this server does not have.", param="last_event_id")
    if dialect is not None and owner is not dialect:
        raise InvalidCursor(f"This cursor is of the format {owner.name}, not {dialect.name}.", param="last_event_id")
    return owner, kept


def _params(request: Request, dialect: Dialect, start: StreamStart) -> str:
    """View parameters: the query's, or for the shape that made the stream those it was made with."""
    include_usage = request.query_params.get("include_usage")
    if include_usage is None:
        return start.params if start.dialect == dialect.name else ""
    if include_usage not in ("1", "true", "0", "false"):
        raise BadRequest("include_usage is true or false.", param="include_usage")
    return "u" if include_usage in ("1", "true") and "u" in dialect.params else ""


def whole_number(request: Request, name: str, meaning: str) -> int:
    """A number in the query, 0 if it is not there; `meaning` is for people. Raises `BadRequest`."""
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise BadRequest(f"{name} is {meaning}.", param=name)
    return int(text)


def page_size(text: str | None) -> int:
    """How many things a page shall have, as in `?limit=`. Raises `BadRequest`."""
    if text is None:
        return _PAGE
    if not text.isascii() or not text.isdigit() or len(text) > 3 or not 1 <= int(text) <= _LARGEST_PAGE:
        raise BadRequest(f"limit is a whole number from 1 to {_LARGEST_PAGE}.", param="limit")
    return int(text)


def _skip(request: Request) -> int:
    """`?skip=`: complete data frames (text: bytes) that a client without ids has received."""
    return whole_number(request, "skip", "a whole number of frames, or of bytes for text")


def position(request: Request, dialect: Dialect | None, start: StreamStart) -> tuple[Dialect, Cursor]:
    """The view and the place in it that a request asks for; `dialect` is None when it names no format."""
    kept = asked_cursor(request)
    if kept is not None:
        return resume_cursor(kept, dialect)
    dialect = dialect or NATIVE
    begin = start_of(dialect, _params(request, dialect, start))
    return dialect, Cursor(begin.code, begin.version, begin.params, _skip(request))


def asked_format(request: Request) -> Dialect | None:
    """The format in the query; text when only `text/plain` is accepted. Raises `BadRequest`."""
    name = request.query_params.get("format")
    if name is None:
        return TEXT if accepts(request, TEXT_TYPE) and not accepts(request, SSE_TYPE) else None
    if name not in DIALECTS:
        raise BadRequest(f"format is one of {', '.join(DIALECTS)}.", param="format")
    return DIALECTS[name]


def framing_for(request: Request, dialect: Dialect, id_prefix: str) -> Framing:
    """The bytes that the caller accepts: SSE unless it says otherwise, plain text where the format is text."""
    text = dialect is TEXT
    if accepts(request, NDJSON_TYPE):
        return NDJSON(quote=text)
    if text and not accepts(request, SSE_TYPE):
        return PlainText()
    return SSE(ids=id_prefix, retry=True, quote=text, heartbeat=dialect.heartbeat)


async def read_view(
    services: Services, subscription: Subscription, framing: Framing, dialect: Dialect, at: Cursor
) -> Response:
    """The stream from a position on, as a body.

    A reader that already has everything gets 204, which stops a browser's reconnecting (P9); where the format has no
    frame for a failure, the failure itself.
    """
    reader = Reader(subscription, dialect, at)
    headers = {"headrace-stream-id": subscription.stream_id}
    with subscription.handing_over():
        more = await reader.seek()
    if not more:
        reader.close()
        terminal = reader.terminal
        if dialect is TEXT and terminal is not None and not isinstance(terminal, Finished):
            # Asking again gives the same stream again.
            return error_response(NATIVE, terminal_error(terminal), headers=headers | {"x-should-retry": "false"})
        return Response(status_code=204, headers=headers)
    if at.position:
        subscription.resumed()
    return Handed(StreamResponse(reader, framing, services.heartbeats, headers=headers))
