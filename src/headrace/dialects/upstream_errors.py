"""The errors that model servers send inside their streams: the same classes as for an answer with their status."""

from __future__ import annotations

from typing import Any, cast

from headrace.errors import (
    RateLimited,
    UpstreamAuth,
    UpstreamError,
    UpstreamModelNotFound,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)

# The words of OpenAI, Anthropic, vLLM, TGI and llama.cpp, where a status is not sent.
_STATUS_OF = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "request_too_large": 413,
    "badrequesterror": 400,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "invalid_request_error": 400,
    "validation": 400,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "timeout": 504,
    "timeout_error": 504,
    "overloaded": 503,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "unavailable_error": 503,
}
_MAX_MESSAGE = 2000


def error_said(error: Any, frame: dict[str, Any]) -> UpstreamError | RateLimited:
    """The error of a frame: `error` is an object, or words beside which the frame itself has the codes."""
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
