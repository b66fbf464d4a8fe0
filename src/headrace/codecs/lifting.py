"""Long strings out of a JSON text, which comes in pieces: what is left is short enough to be parsed in one go.

Nearly all of a large request is a few strings: an image in base64, a document. They are taken out as they are written,
between their quotes, and checked as strictly as the parser would check them; a short string stands in for each. Every
piece is one step of work: a millisecond for 64 KiB.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode

import msgspec
from msgspec import Raw

LONGEST = 1024
"""Bytes of a string that stays where it is; taking one out costs as much as parsing some KiB."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_HIGH = rb"\\u[dD][89abAB].."
_BEGUN = rb"\\(?:u[^\\]{0,3})?"
_UNFINISHED = re.compile(rb"(?:%b(?:%b)?|%b)\Z" % (_HIGH, _BEGUN, _BEGUN), re.DOTALL)
"""An escape sequence that may go on: one that is cut, or the first half of a surrogate pair."""
_LONGEST_ESCAPE = 12

_check = msgspec.json.Decoder(Raw).decode


class Lifter:
    """Takes a body piece by piece. What the parser would refuse in a long string raises `NOT_JSON` here."""

    def __init__(self, mark: str, longest: int = LONGEST) -> None:
        """`mark` begins every stand-in and must be in no body."""
        self.pieces: list[bytes] = []
        """All of the body so far, byte for byte. The literals are the same objects as in `literals`."""
        self.literals: dict[str, list[bytes]] = {}
        """What is between the quotes of each long string, by its stand-in."""
        self._mark = mark
        self._longest = longest
        # Whole strings as far as possible in one call, those without escape sequences: nearly all that are short.
        self._plain = re.compile(rb'(?:[^"]++|"[^"\\]{0,%d}+")*+' % longest)
        self._rest = b""
        """Bytes that say something only together with the next ones."""
        self._literal: list[bytes] | None = None
        """The long string that the text is in."""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece, and return the text so far with its stand-ins, which never ends inside a string."""
        data = self._rest + data
        whole = len(data) if data.isascii() else utf_8_decode(data, "strict", False)[1]
        self._rest = data[whole:]
        data = data[:whole]
        text: list[bytes] = []
        at = 0
        while at < len(data):
            at = self._outside(data, at, text) if self._literal is None else self._inside(data, at)
        return b"".join(text)

    def finish(self) -> None:
        """The body is over. Raises `NOT_JSON` when it breaks off in a string or in a character."""
        self._rest.decode()
        if self._rest or self._literal is not None:
            raise msgspec.DecodeError("Input data was truncated")

    def _outside(self, data: bytes, begin: int, text: list[bytes]) -> int:
        """Move on to the end, or into a long string."""
        at = begin
        while (at := _end(self._plain, data, at)) < len(data):
            after = _end(_STRING, data, at)
            whole = after > at
            if (after if whole else len(data)) - at > self._longest + 2:
                return self._open(data, begin, at, text)
            if not whole:
                self._rest = data[at:] + self._rest
                break
            at = after
        text.append(data[begin:at])
        self.pieces.append(data[begin:at])
        return len(data)

    def _open(self, data: bytes, begin: int, quote: int, text: list[bytes]) -> int:
        name = f"{self._mark}{len(self.literals)}"
        self._literal = self.literals[name] = []
        text += (data[begin:quote], b'"%b"' % name.encode())
        self.pieces.append(data[begin : quote + 1])
        return quote + 1

    def _inside(self, data: bytes, begin: int) -> int:
        """Move on to the end, or out of the string that the text is in."""
        masked = data[begin:]
        if b"\\" in masked:  # left to right, so no pair is taken for the half of another
            masked = masked.replace(rb"\\", b"..").replace(rb"\"", b"..")
        length = masked.find(b'"')
        if length >= 0:
            self._take(data[begin : begin + length])
            self._literal = None
            self.pieces.append(b'"')
            return begin + length + 1
        unfinished = _UNFINISHED.search(masked, max(0, len(masked) - _LONGEST_ESCAPE))
        end = begin + (unfinished.start() if unfinished else len(masked))
        self._take(data[begin:end])
        self._rest = data[end:] + self._rest
        return len(data)

    def _take(self, piece: bytes) -> None:
        """Keep a piece of the long string: whole characters and whole escape sequences."""
        if piece and self._literal is not None:
            _check(b'"%b"' % piece)
            self._literal.append(piece)
            self.pieces.append(piece)


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where the match that begins here ends; here, if there is none."""
    found = pattern.match(data, at)
    return found.end() if found else at
