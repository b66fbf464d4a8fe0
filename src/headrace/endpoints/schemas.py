"""What the OpenAPI document says that the handlers' signatures cannot: they read bodies and queries themselves."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse

_NUMBER: dict[str, Any] = {"type": "number"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_OBJECT: dict[str, Any] = {"type": "object"}
_STRING: dict[str, Any] = {"type": "string"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}


def _message(**more: dict[str, Any]) -> dict[str, Any]:
    roles = ["system", "developer", "user", "assistant", "tool", "function"]
    properties = {
        "role": {"type": "string", "enum": roles},
        "content": {"description": "Text, or a list of parts.", "type": ["string", "array"], "items": _OBJECT},
        "name": _STRING,
        "tool_calls": {"type": "array", "items": _OBJECT},
    }
    return {"type": "object", "required": ["role"], "properties": properties | more}


def _request(message: dict[str, Any], properties: dict[str, Any], *, closed: bool = False) -> dict[str, Any]:
    fields = {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "messages": {"type": "array", "minItems": 1, "items": message},
        "stream": _BOOLEAN,
        "tools": {"type": "array", "items": _OBJECT},
        "metadata": {"type": "object", "additionalProperties": _STRING},
    }
    schema = {"type": "object", "required": ["model", "messages"], "properties": fields | properties}
    return schema | {"additionalProperties": False} if closed else schema


_SETTINGS: dict[str, Any] = {
    "temperature": _NUMBER | {"minimum": 0},
    "top_p": _NUMBER | {"minimum": 0, "maximum": 1},
    "max_tokens": _COUNT,
    "seed": {"type": "integer"},
    "n": _COUNT,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "tool_choice": {"type": ["string", "object"]},
    "parallel_tool_calls": _BOOLEAN,
    "response_format": _OBJECT,
}
_STOPS: dict[str, Any] = {"type": "array", "items": _STRING}
_OPENAI = _request(
    _message(tool_call_id=_STRING),
    _SETTINGS
    | {
        "stop": {"anyOf": [_STRING, _STOPS]},
        "max_completion_tokens": _COUNT,
        "stream_options": {"type": "object", "properties": {"include_usage": _BOOLEAN}},
    },
)
_CLOSED_SETTINGS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": _SETTINGS | {"stop": _STOPS},
}
_NATIVE = _request(
    _message(call_id=_STRING) | {"additionalProperties": False}, {"settings": _CLOSED_SETTINGS}, closed=True
)
_BODIES = {"openai.chat": _OPENAI, "native": _NATIVE}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "retryable"],
            "properties": {
                "code": _STRING,
                "message": {"type": "string", "description": "What happened and what to do about it."},
                "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
                "param": {"type": ["string", "null"], "description": "The field that is wrong."},
                "type": {"type": "string", "description": "In OpenAI's shape only."},
                "partial": {"type": "string", "description": "The text that came before the failure."},
            },
        }
    },
}
_REFUSALS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No API key, or an unknown one.",
    "403": "Without keys: a page of another origin, or an unknown Host.",
    "404": "No such model or stream; somebody else's is none.",
    "413": "The body is over `max_request_bytes`.",
    "415": "The body is not declared as JSON.",
    "422": "The idempotency key was used with another body.",
    "429": "A queue or a quota is full; see `Retry-After`.",
    "499": "The stream was cancelled.",
    "502": "The model server failed.",
    "503": "The model server, or this one, has no room; see `Retry-After`.",
    "504": "A deadline passed.",
}


def _errors(*statuses: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ERROR}}
    listed: dict[int | str, dict[str, Any]] = {
        status: {"description": _REFUSALS[status], "content": content} for status in statuses
    }
    # Also keeps FastAPI from documenting a validation that is not its own.
    return listed | {"default": {"description": "Any other error.", "content": content}}


def _operation(extra: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """Arguments of `add_api_route`."""
    return {"openapi_extra": extra, "responses": _errors("400", "401", "403", *statuses)}


def documented(dialect: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for a POST that makes a stream."""
    headers = [
        _header("Idempotency-Key", "The same key and body joins the stream that the first request made."),
        _header("Headrace-On-Disconnect", "cancel, continue or grace=SECONDS."),
    ]
    return _operation(_body(_BODIES[dialect]) | {"parameters": headers}, *list(_REFUSALS)[3:])


_FORMAT = _query("format", {"type": "string", "enum": ["native", "openai.chat", "text"]}, "The view.")
_LAST_EVENT_ID = _query("last_event_id", _STRING, "Resume after this id; the header Last-Event-ID does the same.")
LIST = _operation(
    {
        "parameters": [
            _query("state", {"type": "string", "enum": ["running", "finished", "failed", "cancelled"]}, "Only these."),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": 100}, "Streams a page."),
            _query("before", _STRING, "`next` of the page before."),
        ]
    },
    "404",
)
READ = _operation({}, "404")
EVENTS = _operation(
    {
        "parameters": [
            _FORMAT,
            _LAST_EVENT_ID,
            _query("skip", {"type": "integer", "minimum": 0}, "Frames (text: bytes) already received, without ids."),
            _query("include_usage", _BOOLEAN, "The usage chunk of openai.chat."),
        ]
    },
    "404",
)
CANCEL = _operation(
    _body(
        {
            "type": "object",
            "required": ["idempotency_key"],
            "additionalProperties": False,
            "properties": {"idempotency_key": _STRING, "route": _STRING},
        }
    ),
    "404",
    "413",
    "415",
)
PROMPT = _operation(
    {
        "parameters": [
            _query("prompt", {"type": "string", "minLength": 1, "maxLength": 2000}, "The question."),
            _query("model", _STRING, "The model; the first served one by default."),
            _FORMAT,
            _LAST_EVENT_ID,
        ]
    },
    *list(_REFUSALS)[3:],
)
METRICS: dict[str, Any] = {
    "openapi_extra": {},
    "response_class": PlainTextResponse,
    "responses": {"200": {"description": "Prometheus' text format, or OpenMetrics where `Accept` asks for it."}}
    | _errors("401", "403"),
}
