"""Anthropic's error object: ours for HTTP bodies and `error` events."""

from __future__ import annotations

from typing import Any

from headrace.dialects.base import told
from headrace.errors import HeadraceError
from headrace.events import Cancelled, Failed

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    499: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_NAMES = {
    "stop": "stop_sequences",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
"""What fields of `Request` are called here."""


def error_body(problem: HeadraceError | Failed | Cancelled, partial: str | None = None) -> dict[str, Any]:
    """The whole body; `code`, `retryable`, `param` and `partial` are ours, and Anthropic's clients ignore them."""
    said = told(problem, _NAMES)
    error: dict[str, Any] = {
        "type": _TYPES.get(said.status, "invalid_request_error" if said.status < 500 else "api_error"),
        "message": said.message,
        "code": said.code,
        "retryable": said.retryable,
    }
    if said.param is not None:
        error["param"] = said.param
    if partial is not None:
        error["partial"] = partial
    return {"type": "error", "error": error}
