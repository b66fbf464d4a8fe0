"""Errors as frames: ours, and a model server's inside its stream."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.openai_errors import error_object
from headrace.dialects.upstream_errors import error_said
from headrace.errors import RateLimited, UpstreamError
from headrace.events import Failed

NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""What fields of `Request` are called here."""

_fields_of = msgspec.json.Decoder(dict[str, Any]).decode


def error_frame(problem: Failed) -> dict[str, Any]:
    """The last frame of a failure, twice the same: the API documents it flat, clients raise only on the nested form."""
    error = error_object(problem, NAMES)
    return {**error, "type": "error", "error": error}


def in_band_error(data: bytes | Raw) -> UpstreamError | RateLimited | None:
    """The error that a frame is, if it is one: `error` flat or nested, `response.failed`, or an error alone."""
    try:
        frame = _fields_of(data)
    except NOT_JSON:
        return None
    kind, error = frame.get("type"), frame.get("error")
    if kind == "response.failed":
        response = frame.get("response")
        error = response.get("error") if isinstance(response, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return error_said(error or {}, frame)
    if kind == "error":
        return error_said(error or {name: value for name, value in frame.items() if name != "type"}, frame)
    return error_said(error, frame) if error and not isinstance(kind, str) else None
