"""OpenAI's error object: ours for HTTP bodies and frames, and a model server's inside its stream."""

from __future__ import annotations

from typing import Any, cast

from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamError,
    UpstreamModelNotFound,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from headrace.events import Cancelled, Failed

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
# The words of OpenAI, Anthropic, vLLM, TGI and llama.cpp, where a status is not sent.
_STATUS_OF = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "badrequesterror": 400,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "invalid_request_error": 400,
    "validation": 400,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout": 504,
    "timeout_error": 504,
    "overloaded": 503,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "unavailable_error": 503,
}
_MAX_MESSAGE = 2000


def error_object(problem: HeadraceError | Failed | Cancelled) -> dict[str, Any]:
    """The value of `error`; `retryable` is ours: OpenAI's clients ignore what they do not know."""
    if isinstance(problem, Cancelled):
        status, code, retryable, param = 499, "cancelled", False, None
        message = f"The stream was cancelled ({problem.by}); what was received so far can still be read by its id."
    elif isinstance(problem, Failed):
        status, code, retryable, param = problem.status, problem.code, problem.retryable, problem.param
        message = problem.message
    else:
        status, code, retryable, param = problem.status, problem.error_code, problem.may_retry, problem.param
        message = problem.message
    return {
        "message": message,
        "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
        "param": param,
        "code": code,
        "retryable": retryable,
    }


def in_band_error(frame: dict[str, Any]) -> UpstreamError | RateLimited | None:
    """The error that a frame is, if it is one; the same classes as for an answer with its status."""
    error = frame.get("error")
    if frame.get("object") == "error":
        error = error or frame
    if error is None or (not error and "choices" in frame):
        return None
    fields: dict[str, Any] = cast("dict[str, Any]", error) if isinstance(error, dict) else {**frame, "message": error}
    said = fields.get("message")
    words = [fields.get(name) for name in ("code", "status", "type", "error_type")]
    status = next((status for status in map(_status, words) if status), 0)
    retryable = fields.get("retryable")
    text = said[:_MAX_MESSAGE] if isinstance(said, str) and said else "no reason given"
    problem = _error(status, text, quota="insufficient_quota" in words)
    if isinstance(retryable, bool):  # another Headrace knows better than its words say
        problem.may_retry = retryable
    return problem


def _error(status: int, said: str, *, quota: bool) -> UpstreamError | RateLimited:
    message = f"The model server failed: {said}"
    if status in (401, 403):  # what it said may quote the key (P36)
        return UpstreamAuth("The model server refused the credentials that this server is configured with.")
    if status == 404:
        return UpstreamModelNotFound(message)
    if status == 429:
        return RateLimited(message, code="upstream_rate_limited", retryable=not quota)
    if status == 504:
        return UpstreamTimeout(message)
    if 400 <= status < 500:
        return UpstreamRejected(message, status=status, retryable=status in (408, 409))
    if status:
        return UpstreamUnavailable(message, status=503 if status in (503, 529) else 502)
    return UpstreamError(message)


def _status(word: Any) -> int:
    """The HTTP status that a code means, or 0."""
    if isinstance(word, str):
        word = int(word) if word.isascii() and word.isdigit() and len(word) == 3 else _STATUS_OF.get(word.lower(), 0)
    return word if isinstance(word, int) and 400 <= word < 600 else 0
