"""Every error that Headrace raises, in one tree.

HeadraceError
├── BadRequest                 400  the caller must change the request
│   ├── InvalidCursor          400
│   ├── PayloadTooLarge        413
│   ├── UnsupportedMediaType   415
│   └── IdempotencyKeyReused   422  same key, another body
├── Unauthorized               401
├── Forbidden                  403  foreign Origin or Host
├── NotFound                   404  unknown, deleted, expired or somebody else's
├── MethodNotAllowed           405
├── RateLimited                429  a limit of ours, or the upstream's own 429
├── Overloaded                 503  no room for another stream
├── StreamCancelled            499  the stream was stopped before it ended
├── UpstreamError              502  what a model server did wrong
│   ├── UpstreamAuth           502  the operator's key is wrong, not the caller's
│   ├── UpstreamModelNotFound  502
│   ├── UpstreamRejected       4xx  the model server refused the request; status kept
│   ├── UpstreamIncomplete     502  it closed without its terminal marker
│   ├── UpstreamProtocol       502  bytes that are not its protocol
│   ├── UpstreamUnavailable    503  refused, reset, 5xx
│   └── UpstreamTimeout        504  one of the four deadlines
├── InternalError              500  a defect of ours
├── StoreError                 503
│   ├── StoreUnavailable       503  the store cannot be reached, or does not serve now
│   ├── Fenced                 503  another producer holds a newer lease
│   ├── LeaseHeld              503  another producer holds a living lease
│   ├── SequenceGap            503  records must follow each other
│   └── LogFull                503  a stream's log, or all logs, reached their limit
├── ArchiveError               —    an ended stream is not archived yet; nobody's request fails by it
└── ConfigError                —    stops start-up

Dialects render these, none invents its own: `code` is the machine's name, `status_hint` the HTTP status,
`retryable` whether the same request may succeed later, `param` the field that is wrong.
"""

from __future__ import annotations

from typing import ClassVar


class HeadraceError(Exception):
    """Root of the tree; `message` says what happened and what to do about it."""

    code: ClassVar[str] = "internal_error"
    status_hint: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        detail: str | None = None,
    ) -> None:
        """`retry_after` is in seconds, as the `Retry-After` header that goes with it.

        `detail` is the message for the server's operator, where callers may not know as much: `str()` gives it.
        """
        super().__init__(detail or message)
        self.message = message
        self.error_code = code or self.code
        self.status = status or self.status_hint
        self.may_retry = self.retryable if retryable is None else retryable
        self.param = param
        self.retry_after = retry_after


class BadRequest(HeadraceError):
    """The request cannot be served as it is; nothing was sent upstream (P25)."""

    code = "invalid_request"
    status_hint = 400


class InvalidCursor(BadRequest):
    """A position that no view of this stream has."""

    code = "invalid_cursor"


class PayloadTooLarge(BadRequest):
    """The body is over `max_request_bytes`."""

    code = "request_too_large"
    status_hint = 413


class UnsupportedMediaType(BadRequest):
    """A POST with a body must be `application/json` (P33)."""

    code = "unsupported_media_type"
    status_hint = 415


class IdempotencyKeyReused(BadRequest):
    """The key belongs to a request with another body; never 409, which official clients retry (P10)."""

    code = "idempotency_key_reused"
    status_hint = 422


class Unauthorized(HeadraceError):
    """No key, or one that is not configured."""

    code = "invalid_api_key"
    status_hint = 401


class Forbidden(HeadraceError):
    """The request comes from a page or a name that this server does not trust (P33)."""

    code = "forbidden"
    status_hint = 403


class NotFound(HeadraceError):
    """Unknown, deleted, expired and foreign are one answer, so ids cannot be probed (P32)."""

    code = "not_found"
    status_hint = 404


class MethodNotAllowed(HeadraceError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    status_hint = 405


class RateLimited(HeadraceError):
    """A queue or a quota is full; `retry_after` says when to come back."""

    code = "rate_limited"
    status_hint = 429
    retryable = True


class Overloaded(HeadraceError):
    """This server has no room for another stream."""

    code = "overloaded"
    status_hint = 503
    retryable = True


class StreamCancelled(HeadraceError):
    """Somebody stopped the stream that this answer was to come from."""

    code = "cancelled"
    status_hint = 499


class UpstreamError(HeadraceError):
    """A model server failed; the request itself may be fine."""

    code = "upstream_error"
    status_hint = 502
    retryable = True


class UpstreamAuth(UpstreamError):
    """The model server refused our credentials; the caller cannot mend that."""

    code = "upstream_auth"
    retryable = False


class UpstreamModelNotFound(UpstreamError):
    """The model server does not know the configured model."""

    code = "upstream_model_not_found"
    retryable = False


class UpstreamRejected(UpstreamError):
    """The model server answered 4xx: its status and message are the caller's to read."""

    code = "upstream_rejected"
    status_hint = 400
    retryable = False


class UpstreamIncomplete(UpstreamError):
    """The answer stopped without its terminal marker (P6)."""

    code = "upstream_incomplete"


class UpstreamProtocol(UpstreamError):
    """The model server sent what its protocol does not allow."""

    code = "upstream_protocol"


class UpstreamUnavailable(UpstreamError):
    """Refused, reset, or a 5xx."""

    code = "upstream_unavailable"
    status_hint = 503


class UpstreamTimeout(UpstreamError):
    """One of the deadlines passed (P20)."""

    code = "upstream_timeout"
    status_hint = 504


class InternalError(HeadraceError):
    """A defect of Headrace: the traceback is in the log, never in the answer."""


class StoreError(HeadraceError):
    """The log refused an operation."""

    code = "store_error"
    status_hint = 503
    retryable = True


class StoreUnavailable(StoreError):
    """The store cannot be reached, or does not serve now: asking again helps once it is back."""

    code = "store_unavailable"


class Fenced(StoreError):
    """The lease is from an older epoch: another producer has taken the stream over."""

    code = "fenced"


class LeaseHeld(StoreError):
    """Another producer holds a lease that has not run out."""

    code = "lease_held"


class SequenceGap(StoreError):
    """Appended records do not follow the last one."""

    code = "sequence_gap"
    retryable = False


class LogFull(StoreError):
    """The log of one stream, or of all, has reached its limit in bytes."""

    code = "log_full"


class ArchiveError(HeadraceError):
    """The archive does not take or does not answer; the message says why, without credentials (P36)."""

    code = "archive_error"
    retryable = True


class ConfigError(HeadraceError):
    """The configuration is wrong; the message names the place and what would be right."""

    code = "config_error"
