"""Newline-delimited JSON, both directions: one value a line, and only a line with its newline was received.

A line ends with LF; a CR before it is dropped. Blank lines are heartbeats. What a line says is for the JSON layer.
"""

from __future__ import annotations

from headrace.codecs import DEFAULT_MAX_BYTES, LineTooLong

__all__ = ["HEARTBEAT", "LineTooLong", "NDJSONDecoder", "encode"]

HEARTBEAT = b"\n"
"""A blank line shows life and says nothing; it is no line of the view, so it does not count for the position."""

_LF, _CR = b"\n\r"  # as integers: looking one up in bytes is then several times cheaper


class NDJSONDecoder:
    """Feed it bytes as they come; each read gives the lines whose newline is in it. Linear in the bytes read."""

    pending: bool = False
    """After `finish`: whether a line had begun and its newline was missing."""

    def __init__(self, *, max_line_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Limit a line, counted up to its LF: whether a last CR is content is known only later."""
        self._max_line = max_line_bytes
        self._failure = ""
        self._line = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that this read completes, without their ends; the same lines come of any split.

        Raises:
            LineTooLong: the limit is broken. Lines that were complete before it are returned first, then this and every
                later call raises.
        """
        if self._failure:
            raise LineTooLong(self._failure)
        lines: list[bytes] = []
        try:
            self._read(data, lines)
        except LineTooLong as error:
            self._failure = str(error)
            self._line = bytearray()
            if not lines:
                raise
        return lines

    def finish(self) -> None:
        """Take the end of input: a line without its newline counts as not received, and `pending` tells of it.

        Raises:
            LineTooLong: the limit was broken.
        """
        if self._failure:
            raise LineTooLong(self._failure)
        self.pending = bytes(self._line) not in (b"", b"\r")
        self._line = bytearray()

    def _read(self, data: bytes, lines: list[bytes]) -> None:
        parts = data.split(b"\n")
        rest = parts.pop()
        if parts and self._line:
            self._line += parts[0]
            parts[0] = bytes(self._line)
            self._line = bytearray()
        for part in parts:
            if len(part) > self._max_line:
                raise self._too_long()
            line = part.removesuffix(b"\r")
            if line:
                lines.append(line)
        self._line += rest
        if len(self._line) > self._max_line:
            raise self._too_long()

    def _too_long(self) -> LineTooLong:
        return LineTooLong(f"a line is longer than {self._max_line} bytes")


def encode(line: bytes) -> bytes:
    """Return the line with its newline.

    Raises:
        ValueError: the line is empty, which would be a heartbeat, or holds CR or LF.
    """
    if not line or _LF in line or _CR in line:
        raise ValueError("a line is not empty and holds no CR or LF")
    return line + b"\n"
