"""OpenAI's error object, which both of its APIs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.dialects.base import told
from headrace.errors import HeadraceError
from headrace.events import Cancelled, Failed

_SAME: dict[str, str] = {}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    499: "cancelled",
}


def error_object(problem: HeadraceError | Failed | Cancelled, names: Mapping[str, str] = _SAME) -> dict[str, Any]:
    """The value of `error`; `retryable` is ours: OpenAI's clients ignore what they do not know.

    `names` is as in `in_own_words`.
    """
    said = told(problem, names)
    return {
        "message": said.message,
        "type": _TYPES.get(said.status, "invalid_request_error" if said.status < 500 else "server_error"),
        "param": said.param,
        "code": said.code,
        "retryable": said.retryable,
    }


def error_body(error: HeadraceError, partial: str | None, names: Mapping[str, str] = _SAME) -> bytes:
    """The body of an HTTP error; `partial` is the text that was received before it, `names` as in `in_own_words`."""
    body = error_object(error, names)
    if partial is not None:
        body["partial"] = partial
    return msgspec.json.encode({"error": body})
