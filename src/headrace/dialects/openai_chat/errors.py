"""The error that a model server sends as a chunk of its stream."""

from __future__ import annotations

from typing import Any

from headrace.dialects.upstream_errors import error_said
from headrace.errors import RateLimited, UpstreamError


def in_band_error(frame: dict[str, Any]) -> UpstreamError | RateLimited | None:
    """The error that a frame is, if it is one; the same classes as for an answer with its status."""
    error = frame.get("error")
    if frame.get("object") == "error":
        error = error or frame
    if error is None or (not error and "choices" in frame):
        return None
    return error_said(error, frame)
