"""How one request ended, and every way in which one can fail."""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

FAILURES: Final[dict[str, str]] = {
    "http_STATUS": "the server answered with this status instead of a stream",
    "refused": "nothing listens at the address",
    "unreachable": "there is no way to the address, or no address for the name",
    "tls": "no secure connection could be made",
    "reset": "the server reset the connection before it answered",
    "closed": "the server closed the connection before it answered",
    "files": "this machine allows no more open connections",
    "timeout_connect": "the time was up before there was a connection",
    "timeout_headers": "the time was up before the server answered",
    "timeout_first_token": "the time was up after the headers and before any content",
    "timeout_stream": "the time was up in the middle of the content",
    "incomplete": "the stream ended without its terminal event, cleanly or not",
    "error_event": "the stream itself told of an error",
    "empty": "the stream ended well and had no content",
    "not_a_stream": "the answer was declared to be something else than a stream",
    "protocol": "what came is not HTTP, not compressed as it was asked for, or not of this shape",
}
"""Every kind of failure, with what it means. The status of `http_STATUS` is a number, as in `http_429`."""


class Outcome(msgspec.Struct, gc=False):
    """One request that ended. Times are in seconds."""

    failure: str = ""
    """One of `FAILURES`; empty when the stream was whole."""
    message: str = ""
    """What happened, for people, if it failed."""
    ttft: float = 0.0
    """From the request to the first event with content."""
    e2el: float = 0.0
    """From the request to the terminal event."""
    gaps: array[float] = array("d")
    """Between two reads that had content."""
    together: int = 0
    """Events with content that came in one read with the one before them: gaps of zero."""
    chunks: int = 0
    """Events with content."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    """As the server counted them, if it said so."""

    @property
    def tpot(self) -> float | None:
        """Seconds per token after the first; None when the server has not counted at least two."""
        if self.output_tokens is None or self.output_tokens < 2:
            return None
        return (self.e2el - self.ttft) / (self.output_tokens - 1)
