"""How a stream ends: errors as terminal events, and terminal events as a state and a code."""

from __future__ import annotations

import re

from headrace.errors import HeadraceError, InternalError
from headrace.events import Cancelled, Failed, Finished, Terminal

OTHER = "other"
"""Stands for codes that cannot be told from one another, or not be told at all."""

_WORD = re.compile(r"[\w.:-]{1,64}", re.ASCII)


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


def lost() -> Failed:
    """The node that produced the stream is gone."""
    return Failed(
        code="producer_lost",
        message="The server that produced this answer stopped in the middle; send the request again.",
        retryable=True,
        status=503,
    )


def said_again(terminal: Terminal | None) -> bool:
    """Whether a stream that ended so without content may be asked again with its idempotency key (P10)."""
    if isinstance(terminal, Failed):
        return terminal.retryable
    return isinstance(terminal, Cancelled) and terminal.by == "disconnect"


def outcome(terminal: Terminal) -> tuple[str, str]:
    """The state, and its code: the finish reason, the error's code, or who cancelled.

    A code is one word. Model servers choose reasons and codes, and may put anything there, also what was said (P36).
    """
    match terminal:
        case Finished(reason):
            state, code = "finished", reason
        case Failed(code):
            state = "failed"
        case Cancelled(by):
            state, code = "cancelled", by
    return state, code if _WORD.fullmatch(code) else OTHER
