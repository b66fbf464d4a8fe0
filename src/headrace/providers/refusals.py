"""What a model server's answer other than 200 means, as an error of ours.

| status | error |
|---|---|
| 3xx | `UpstreamProtocol`: redirects are not followed (P34) |
| 401, 403 | `UpstreamAuth` with a generic text: the operator's key is wrong, not the caller's |
| 404 | `UpstreamModelNotFound` |
| 429 | `RateLimited`, with the server's own `Retry-After` |
| other 4xx | `UpstreamRejected`: status, message, param and code are the caller's to read |
| 503, 529 | `UpstreamUnavailable` 503, other 5xx `UpstreamUnavailable` 502 |
| any other | `UpstreamProtocol` |
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec

from headrace.codecs import NOT_JSON
from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamModelNotFound,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamUnavailable,
)

# Official clients retry these two without being asked.
_RETRYABLE_4XX = frozenset({408, 409})
# 429 with one of these is no queue: waiting does not fill an account.
_EXHAUSTED = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
# 529: "overloaded", as Anthropic and others send it.
_OVERLOADED = frozenset({503, 529})
_CODE = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}", re.ASCII)
_MAX_MESSAGE = 2000
_MAX_PLAIN_TEXT = 300


class Refusal(msgspec.Struct, frozen=True):
    """An answer that is no answer: what came instead of a stream."""

    status: int
    headers: Mapping[str, str]
    """Looked up by lower-case names."""
    body: bytes

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case; empty when the server named none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Complaint(msgspec.Struct, frozen=True):
    """What an error body says, whichever of the many forms it has."""

    message: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    """The HTTP status that some servers write into the body, as a number in `code`."""


def error_of(refusal: Refusal, now: float) -> HeadraceError:
    """The error that the caller gets; `now` is Unix time, for a `Retry-After` that is a date."""
    status = refusal.status
    if status in (401, 403):
        return UpstreamAuth("The model server refused the credentials that this server is configured with.")
    complaint = complaint_of(refusal)
    if status == 404:
        return UpstreamModelNotFound(_said("The model server does not know this model or this address", complaint))
    if status == 429:
        return RateLimited(
            complaint.message or "The model server has no room for this request; try again later.",
            code="upstream_rate_limited",
            retry_after=retry_after(refusal.headers, now),
            retryable=_should_retry(refusal, default=complaint.code not in _EXHAUSTED),
        )
    if 400 <= status < 500:
        return UpstreamRejected(
            complaint.message or f"The model server refused the request with status {status}.",
            status=status,
            code=complaint.code,
            param=complaint.param,
            retryable=_should_retry(refusal, default=status in _RETRYABLE_4XX),
        )
    if 500 <= status < 600:
        return UpstreamUnavailable(
            _said(f"The model server failed with status {status}", complaint),
            status=503 if status in _OVERLOADED else 502,
            retry_after=retry_after(refusal.headers, now),
            retryable=_should_retry(refusal, default=True),
        )
    return _unexpected(status)


def not_a_stream(refusal: Refusal, expected: str, now: float) -> HeadraceError:
    """The error for a 200 whose content is not what was asked for."""
    got = refusal.media_type
    if got == "application/json":
        complaint = complaint_of(refusal)
        if complaint.status is not None:  # a router that answered before it knew of the failure
            return error_of(msgspec.structs.replace(refusal, status=complaint.status), now)
        if complaint.message:
            return UpstreamProtocol(_said("The model server answered 200 with an error", complaint))
        advice = "a model server that cannot stream needs stream: force"
    elif got == "text/html":
        advice = "base_url probably names a web page; the address of an API often ends in /v1"
    else:
        advice = "check base_url"
    named = got if _MEDIA_TYPE.fullmatch(got) else "something else"
    return UpstreamProtocol(f"The model server sent {named} instead of {expected}: {advice}.", retryable=False)


def complaint_of(refusal: Refusal) -> Complaint:
    """Read an error body: OpenAI's form, those of vLLM, Ollama, FastAPI and Google, or a short plain text."""
    try:
        return _complaint(msgspec.json.decode(refusal.body))
    except NOT_JSON:
        return _plain_text(refusal)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` as seconds or date (RFC 9110 10.2.3); None if unsaid."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _should_retry(refusal: Refusal, *, default: bool) -> bool:
    """The server's own word outweighs the rule, as in OpenAI's clients."""
    return {"true": True, "false": False}.get(refusal.headers.get("x-should-retry", ""), default)


def _unexpected(status: int) -> HeadraceError:
    if 300 <= status < 400:
        text = f"The model server answered {status}, a redirect: base_url must be the final address."
        return UpstreamProtocol(text, retryable=False)
    return UpstreamProtocol(f"The model server answered {status} where 200 was expected.")


def _said(what: str, complaint: Complaint) -> str:
    return f"{what}: {complaint.message}" if complaint.message else f"{what}."


def _plain_text(refusal: Refusal) -> Complaint:
    """A page or a dump is for nobody's eyes; one line of text is."""
    text = refusal.body.decode("utf-8", "replace").strip()
    if refusal.media_type not in ("", "text/plain") or len(text) > _MAX_PLAIN_TEXT or text.startswith("<"):
        return Complaint()
    return Complaint(text)


def _complaint(value: Any) -> Complaint:
    if isinstance(value, list) and value:
        return _complaint(cast("list[Any]", value)[0])  # Google wraps its error in a list
    if isinstance(value, str):
        return Complaint(value[:_MAX_MESSAGE])
    if not isinstance(value, dict):
        return Complaint()
    fields = cast("dict[str, Any]", value)
    inner = fields.get("error") or fields.get("detail") or fields.get("errors")
    if isinstance(inner, dict | list) or (inner and "message" not in fields):
        return _complaint(inner)
    message = fields.get("message") or fields.get("msg")
    code, param = fields.get("code"), fields.get("param")
    return Complaint(
        message=message[:_MAX_MESSAGE] if isinstance(message, str) else "",
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else None,
        param=param[:_MAX_PLAIN_TEXT] if isinstance(param, str) else None,
        status=code if isinstance(code, int) and 400 <= code < 600 else None,
    )
