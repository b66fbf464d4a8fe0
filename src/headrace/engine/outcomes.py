"""Errors as the terminal event that a stream ends with."""

from __future__ import annotations

from headrace.errors import HeadraceError, InternalError
from headrace.events import Failed


def failure(error: HeadraceError) -> Failed:
    """The failure that says what the error says."""
    return Failed(
        code=error.error_code,
        message=error.message,
        retryable=error.may_retry,
        status=error.status,
        retry_after=error.retry_after,
        param=error.param,
    )


def defect() -> Failed:
    """A mistake of ours: the trace is in the server's log, never here."""
    return failure(InternalError("The server made a mistake; it is in its log."))


def shutdown() -> Failed:
    """The server stopped before the model had ended."""
    return Failed(
        code="server_shutdown", message="The server stopped while the model answered.", retryable=True, status=503
    )
