"""How a stream ends: errors as terminal events, and terminal events as a state and a code."""

from __future__ import annotations

from headrace.errors import HeadraceError, InternalError
from headrace.events import Cancelled, Failed, Finished, Terminal

_LONGEST_CODE = 64
"""Characters. Codes are words; a model server may send a novel."""


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


def outcome(terminal: Terminal) -> tuple[str, str]:
    """The state, and its code: the finish reason, the error's code, or who cancelled; what a vendor made up is cut."""
    match terminal:
        case Finished(reason):
            return "finished", reason[:_LONGEST_CODE]
        case Failed(code):
            return "failed", code[:_LONGEST_CODE]
        case Cancelled(by):
            return "cancelled", by
