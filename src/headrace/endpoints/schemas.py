"""What the OpenAPI document says of each operation: the handlers read bodies and queries themselves."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from headrace.dialects import DIALECTS
from headrace.endpoints.json_schema import BOOLEAN, STATE, STREAM_ID, STRING, TOKEN, Schema, ref
from headrace.events import RENDER_VERSION

_BODIES: Final = {
    "openai.chat": "ChatRequest",
    "anthropic.messages": "AnthropicRequest",
    "openai.responses": "ResponseRequest",
    "native": "NativeRequest",
}
_ANSWERS: Final = {"openai.chat": "ChatCompletion", "anthropic.messages": "AnthropicMessage"}
_ERRORS: Final = {"anthropic.messages": "AnthropicError"}
_SSE, _NDJSON, _TEXT = "text/event-stream", "application/x-ndjson", "text/plain"
_REFUSALS: Final = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No API key, or an unknown one.",
    "403": "Without keys: a page of another origin, or an unknown Host.",
    "404": "No such model or stream; somebody else's is none.",
    "413": "The body is over `max_request_bytes`.",
    "415": "The body is not declared as JSON.",
    "422": "The idempotency key was used with another body.",
    "429": "A queue or a quota is full; see `Retry-After`.",
    "499": "The stream was cancelled.",
    "500": "The stream failed by a defect of the server.",
    "502": "The model server failed.",
    "503": "The model server, or this one, has no room; see `Retry-After`.",
    "504": "A deadline passed.",
}
_ASKING: Final = ("404", "413", "415", "422", "429", "499", "500", "502", "503", "504")
"""What a request for an answer may meet besides 400, 401 and 403."""
_READING: Final = ("404", "499", "500", "502", "503", "504")
"""The same for one that reads a stream: at the end of one that failed it gets the failure."""
_RETRY_AFTER: Final[Schema] = {"description": "Seconds.", "schema": {"type": "integer"}}
_OF_A_STREAM: Final[dict[str, Schema]] = {
    "Headrace-Stream-Id": {"description": "The stream's id.", "required": True, "schema": STREAM_ID},
}
_OF_A_NEW_STREAM: Final[dict[str, Schema]] = _OF_A_STREAM | {
    "Location": {"description": "Where it is read again.", "required": True, "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "The idempotency key's stream was joined.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_THIS_ID: Final = {"parameters": {"stream_id": "$response.body#/id"}}
_SAME_STREAM: Final[dict[str, Schema]] = {
    "read": _THIS_ID | {"operationId": "read_v1_streams__stream_id__get"},
    "events": _THIS_ID | {"operationId": "events_v1_streams__stream_id__events_get"},
    "export": _THIS_ID | {"operationId": "export_v1_streams__stream_id__export_get"},
    "cancel": _THIS_ID | {"operationId": "cancel_v1_streams__stream_id__cancel_post"},
    "delete": _THIS_ID | {"operationId": "delete_v1_streams__stream_id__delete"},
}
_SAME_RESPONSE: Final[dict[str, Schema]] = {
    "read": _THIS_ID | {"operationId": "read_v1_responses__stream_id__get"},
    "input_items": _THIS_ID | {"operationId": "input_items_v1_responses__stream_id__input_items_get"},
    "cancel": _THIS_ID | {"operationId": "cancel_v1_responses__stream_id__cancel_post"},
    "delete": _THIS_ID | {"operationId": "delete_v1_responses__stream_id__delete"},
}


def _reply(
    description: str, value: str | None = None, *streamed: str, headers: dict[str, Schema] | None = None
) -> dict[str, Any]:
    """A success: the JSON of a component, or a stream of one of these media types."""
    content: dict[str, Any] = {media_type: {} for media_type in streamed}
    if value is not None:
        content["application/json"] = {"schema": ref(value)}
    return (
        {"description": description}
        | ({"content": content} if content else {})
        | ({"headers": headers} if headers else {})
    )


def _operation(
    replies: dict[str, dict[str, Any]],
    *refusals: str,
    body: str | None = None,
    needed: bool = True,
    parameters: tuple[Schema, ...] = (),
    error: str = "Error",
) -> dict[str, Any]:
    """Arguments of `add_api_route`."""
    extra: dict[str, Any] = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        extra["requestBody"] = {"required": needed, "content": {"application/json": {"schema": ref(body)}}}
    content = {"application/json": {"schema": ref(error)}}
    errors: dict[str, dict[str, Any]] = {
        status: {"description": _REFUSALS[status], "content": content} for status in ("400", "401", "403", *refusals)
    }
    for status in ("429", "503"):
        if status in errors:
            errors[status] = errors[status] | {"headers": {"Retry-After": _RETRY_AFTER}}
    # The default also keeps FastAPI from documenting a validation that is not its own.
    default = {"default": {"description": "Any other error.", "content": content}}
    # Without a class of its own, FastAPI would promise JSON everywhere.
    return {"openapi_extra": extra, "responses": replies | errors | default, "response_class": Response}


def _header(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _query(name: str, schema: Schema, description: str, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema, "required": required}


_CREATING: Final = (
    _header("Idempotency-Key", TOKEN, "The same key and body joins the stream that the first request made."),
    _header(
        "Headrace-On-Disconnect",
        {"type": "string", "pattern": r"^(cancel|continue|grace=[0-9]{1,4}s?)$"},
        "cancel, continue or grace=SECONDS: what the last reader's leaving means.",
    ),
)
_OWN_HEADERS: Final[dict[str, tuple[Schema, ...]]] = {
    "anthropic.messages": (
        _header(
            "anthropic-version",
            {"type": "string", "format": "date"},
            "Goes on to a model server of Anthropic's shape.",
        ),
        _header(
            "anthropic-beta",
            {"type": "string", "pattern": "^([A-Za-z0-9._:-]{1,128}(,[A-Za-z0-9._:-]{1,128})*)?$"},
            "Names with commas between them, which go on likewise.",
        ),
    )
}
_CREATED: Final = {
    "openai.chat": {"200": _reply("The answer.", "ChatCompletion", _SSE, headers=_OF_A_NEW_STREAM)},
    "anthropic.messages": {"200": _reply("The answer.", "AnthropicMessage", _SSE, headers=_OF_A_NEW_STREAM)},
    "openai.responses": {
        "200": _reply("The answer; in the background its state.", "Response", _SSE, headers=_OF_A_NEW_STREAM)
        | {"links": _SAME_RESPONSE}
    },
    "native": {
        "201": _reply("The stream has begun.", "StreamCreated", headers=_OF_A_NEW_STREAM) | {"links": _SAME_STREAM},
        "200": _reply(
            "The stream itself, or that of the idempotency key.", "StreamCreated", _SSE, headers=_OF_A_NEW_STREAM
        ),
    },
}


def documented(dialect: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for a POST that makes a stream."""
    return _operation(
        _CREATED[dialect],
        *_ASKING,
        body=_BODIES[dialect],
        parameters=_CREATING + _OWN_HEADERS.get(dialect, ()),
        error=_ERRORS.get(dialect, "Error"),
    )


_POSITION: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 10**12 - 1}
_FORMAT = _query("format", {"type": "string", "enum": list(DIALECTS)}, "The view.")
_CURSOR = rf"(c{RENDER_VERSION}u?|[anrt]{RENDER_VERSION})\.(0|[1-9][0-9]{{0,11}})"


def _last_event_id(pattern: str) -> Schema:
    schema = {"type": "string", "pattern": f"^({pattern})?$"}
    return _query("last_event_id", schema, "Resume after this id; the header Last-Event-ID does the same.")


_NOTHING_MORE: Final = _reply("The reader has everything.", headers=_OF_A_STREAM)
LIST: Final = _operation(
    {"200": _reply("A page, newest first.", "StreamList")},
    *("404",),
    parameters=(
        _query("state", STATE, "Only these."),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100}, "Streams a page."),
        _query("before", STREAM_ID, "`next` of the page before."),
    ),
)
READ: Final = _operation({"200": _reply("State, text so far, usage and position.", "Stream")}, "404")
COUNT_TOKENS: Final = _operation(
    {"200": _reply("The model server's count, or an estimate.", "AnthropicCount")},
    *("404", "413", "415", "429", "500", "502", "503", "504"),
    body="AnthropicCountRequest",
    parameters=_OWN_HEADERS["anthropic.messages"],
    error="AnthropicError",
)


def read_again(dialect: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for a GET of an answer that is there when its stream has ended."""
    answer = "The answer, or with `Accept: text/event-stream` the stream."
    return _operation(
        {
            "200": _reply(answer, _ANSWERS[dialect], _SSE, headers=_OF_A_STREAM),
            "202": _reply("It still runs.", "StillRunning", headers=_OF_A_STREAM | {"Retry-After": _RETRY_AFTER}),
            "204": _NOTHING_MORE,
        },
        *_READING,
        error=_ERRORS.get(dialect, "Error"),
    )


READ_RESPONSE: Final = _operation(
    {
        "200": _reply("It, in whatever state, or with `stream=true` its frames.", "Response", _SSE)
        | {"headers": _OF_A_STREAM},
        "204": _NOTHING_MORE,
    },
    *("404", "503"),
    parameters=(
        _query("stream", BOOLEAN, "The frames, not the object."),
        _query("starting_after", _POSITION, "The sequence number of the last frame that was received."),
    ),
)
CANCEL_RESPONSE: Final = _operation(
    {
        "200": _reply("It has ended.", "Response", headers=_OF_A_STREAM),
        "202": _reply("Its node has not confirmed yet.", "Response", headers=_OF_A_STREAM),
    },
    *("404", "415"),
)
DELETE_RESPONSE: Final = _operation({"200": _reply("It is gone.", "ResponseDeleted")}, "404")
INPUT_ITEMS: Final = _operation(
    {"200": _reply("A page of what the request said.", "ResponseItemList")},
    *("404",),
    parameters=(
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100}, "Items a page."),
        _query("order", {"type": "string", "enum": ["asc", "desc"]}, "As they were said, or the last one first."),
        _query("after", STRING, "`last_id` of the page before."),
    ),
)
DELETE: Final = _operation({"204": _reply("It is gone.")}, "404")
STOP: Final = _operation(
    {
        "200": _reply("It has ended.", "Stream"),
        "202": _reply("Its node has not confirmed yet.", "Stream"),
    },
    *("404", "415"),
)
STOP_BY_KEY: Final = _operation(
    {
        "200": _reply("It has ended.", "Stream"),
        "202": _reply("Its node has not confirmed yet.", "Stream"),
    },
    *("404", "413", "415"),
    body="CancelByKey",
)
TOKEN_FOR_READING: Final = _operation(
    {"200": _reply("The token.", "ReadToken")}, *("404", "413", "415"), body="ReadTokenRequest", needed=False
)
EVENTS: Final = _operation(
    {"200": _reply("The stream.", None, _SSE, _NDJSON, _TEXT, headers=_OF_A_STREAM), "204": _NOTHING_MORE},
    *_READING,
    parameters=(
        _FORMAT,
        _last_event_id(_CURSOR),
        _query(
            "skip",
            _POSITION,
            "Frames (text: bytes) already received, without ids.",
        ),
        _query("include_usage", BOOLEAN, "The usage chunk of openai.chat."),
    ),
)
EXPORT: Final = _operation(
    {
        "200": _reply("A line for each record.", None, _NDJSON, headers=_OF_A_STREAM),
        "202": _reply("It still runs.", "StillRunning", headers=_OF_A_STREAM | {"Retry-After": _RETRY_AFTER}),
    },
    *("404", "503"),
    parameters=(_query("partial", BOOLEAN, "Of a stream that runs, what there is so far."),),
)
PROMPT: Final = _operation(
    {"200": _reply("The stream.", None, _SSE, _NDJSON, _TEXT, headers=_OF_A_STREAM), "204": _NOTHING_MORE},
    *(status for status in _ASKING if status not in ("413", "415")),
    parameters=(
        _query("prompt", {"type": "string", "minLength": 1, "maxLength": 2000}, "The question.", required=True),
        _query("model", {"type": "string", "maxLength": 256}, "The model; the first served one by default."),
        _FORMAT,
        _last_event_id(f"[0-9a-f]{{32}}:{_CURSOR}"),
    ),
)
MODELS: Final = _operation({"200": _reply("What is served; wildcards are not listed.", "ModelList")})
MODEL: Final = _operation({"200": _reply("One model.", "Model")}, "404")
_WITHOUT_A_KEY: Final[dict[str, Any]] = {"response_class": Response, "openapi_extra": {"security": []}}
HEALTH: Final[dict[str, Any]] = _WITHOUT_A_KEY | {"responses": {"200": _reply("It answers.", "Health")}}
READY: Final[dict[str, Any]] = _WITHOUT_A_KEY | {
    "responses": {
        "200": _reply("It takes new streams.", "Health"),
        "503": _reply("It does not: it stops.", "Health"),
    },
}
METRICS: Final = _operation(
    {
        "200": _reply(
            "Prometheus' text format, or OpenMetrics where `Accept` asks for it.",
            None,
            _TEXT,
            "application/openmetrics-text",
        )
    }
)
