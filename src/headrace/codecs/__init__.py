"""Bytes to frames and back: no I/O, no clock, no knowledge of what the frames say."""

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON wanted; the last for JSON nested deeper than the stack allows."""

DEFAULT_MAX_BYTES = 8 * 1024 * 1024
"""One frame may carry a generated image in base64, a few MiB; what is larger is not a token stream."""


class LineTooLong(ValueError):
    """A line, or the data lines of one event together, is longer than the decoder may hold."""
