"""What the OpenAPI document says that the handlers' signatures cannot: they read bodies and queries themselves."""

from __future__ import annotations

from typing import Any

_MESSAGE: dict[str, Any] = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"type": "string"},
    },
}
_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
    },
}
_OPENAI: dict[str, Any] = _BODY | {
    "properties": _BODY["properties"]
    | {
        "stream": {"type": "boolean"},
        "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "max_tokens": {"type": "integer", "minimum": 1},
    },
}
_NATIVE: dict[str, Any] = _BODY | {
    "additionalProperties": False,
    "properties": _BODY["properties"]
    | {
        "settings": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "temperature": {"type": "number", "minimum": 0},
                "max_tokens": {"type": "integer", "minimum": 1},
            },
        },
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_BODIES = {"openai.chat": _OPENAI, "native": _NATIVE}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is wrong; `param` names the field."},
    401: {"description": "No API key, or an unknown one."},
    404: {"description": "No such model or stream."},
    413: {"description": "The body is over `max_request_bytes`."},
    415: {"description": "The body is not declared as JSON."},
    422: {"description": "The idempotency key was used with another body."},
    429: {"description": "A queue or a quota is full; see `Retry-After`."},
    502: {"description": "The model server failed."},
    503: {"description": "The model server, or this one, has no room; see `Retry-After`."},
    504: {"description": "A deadline passed."},
}


def documented(dialect: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for a POST that makes a stream."""
    headers = [
        _header("Idempotency-Key", "The same key and body joins the stream that the first request made."),
        _header("Headrace-On-Disconnect", "cancel, continue or grace=SECONDS."),
    ]
    return {"openapi_extra": _body(_BODIES[dialect]) | {"parameters": headers}, "responses": _ERRORS}


LIST: dict[str, Any] = {
    "parameters": [
        _query("state", {"type": "string", "enum": ["running", "finished", "failed", "cancelled"]}, "Only these."),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100}, "Streams a page."),
        _query("before", {"type": "string"}, "`next` of the page before."),
    ]
}
EVENTS: dict[str, Any] = {
    "parameters": [
        _query("format", {"type": "string", "enum": ["native", "openai.chat", "text"]}, "The view."),
        _query("last_event_id", {"type": "string"}, "Resume after this id; the header Last-Event-ID does the same."),
        _query("skip", {"type": "integer", "minimum": 0}, "Frames (text: bytes) already received, without ids."),
        _query("include_usage", {"type": "boolean"}, "The usage chunk of openai.chat."),
    ]
}
CANCEL: dict[str, Any] = _body(
    {
        "type": "object",
        "required": ["idempotency_key"],
        "additionalProperties": False,
        "properties": {"idempotency_key": {"type": "string"}, "route": {"type": "string"}},
    }
)
PROMPT: dict[str, Any] = {
    "parameters": [
        _query("prompt", {"type": "string", "maxLength": 2000}, "The question."),
        _query("model", {"type": "string"}, "The model; the first served one by default."),
        _query("format", {"type": "string", "enum": ["native", "openai.chat", "text"]}, "The view."),
    ]
}
