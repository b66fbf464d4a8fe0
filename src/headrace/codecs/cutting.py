"""Long lists out of a JSON object, which comes in pieces: their elements in runs that are parsed one at a time.

The object is cut at the commas of the lists and objects that are its own values, such as the messages of a request.
What is cut wrongly because it is not JSON is refused by the parser: the object that is left has an empty list in the
place of each long one, and every run is a list of its own.
"""

from __future__ import annotations

import re

import msgspec

from headrace.bodies import Cut

RUN = 16 * 1024
"""Bytes of a run, about: reading it takes a millisecond, and writing it in another shape two."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'(?:[^"\[\]{}]++|%b)*+' % _STRING
# Lists and objects are skipped in one call where they are nested up to twice, as a message with its parts is.
_DEEP = rb'(?:[^"\[\]{}]++|%b|\{%b\}|\[%b\])*+' % (_STRING, _FLAT, _FLAT)
_VALUES = rb'(?:[^"\[\]{}]++|%b|\{%b\}|\[%b\])*+' % (_STRING, _DEEP, _DEEP)
_VALUE = rb'(?:[^"\[\]{},]++|%b|\{%b\}|\[%b\])*+' % (_STRING, _DEEP, _DEEP)
_skip_flat = re.compile(_FLAT, re.DOTALL)
_skip_values = re.compile(_VALUES, re.DOTALL)
_skip_value = re.compile(_VALUE, re.DOTALL)

_NAME = re.compile(rb"(%b)\s*:\Z" % _STRING, re.DOTALL)
_LONGEST_NAME = 4096
"""Bytes before a list in which its name is looked for; with `lifting` before, a name has a quarter at most."""
_SPACE = b" \t\n\r"

_read_name = msgspec.json.Decoder(str).decode


class ElementTooLong(ValueError):
    """One element of a list is longer than what is parsed in one go; the argument is the list's name."""


class Cutter:
    """Takes the text of an object piece by piece; no piece may end inside a string."""

    def __init__(self, longest: int, run: int = RUN) -> None:
        """`longest` is that of one element, in bytes, and more than `run`."""
        self.cuts: dict[str, Cut] = {}
        """What was cut, by the name that it has in the object; of two with one name the last, as for the parser."""
        self._longest = longest
        self._run = run
        self._head: list[bytes] = []
        self._before = b""
        self._depth = 0
        self._opening = b""
        self._runs: list[bytes] = []
        self._parts: list[bytes] = []
        """The run that is being read."""
        self._size = 0

    def feed(self, text: bytes) -> None:
        """Take the next piece.

        Raises:
            NOT_JSON: there is nothing between two commas.
            ElementTooLong: an element is over the limit.
        """
        at = 0
        while at < len(text):
            at = self._in_object(text, at) if self._depth < 2 else self._in_list(text, at)

    def finish(self) -> bytes:
        """The object, with nothing inside of what was cut. Raises `NOT_JSON` when it breaks off."""
        if self._depth >= 2:
            raise msgspec.DecodeError("Input data was truncated")
        return b"".join(self._head)

    def _in_object(self, text: bytes, at: int) -> int:
        """Move on to the next bracket, and over it."""
        end = _end(_skip_flat, text, at)
        bracket = text[end : end + 1]
        self._head.append(text[at : end + 1])
        self._before = (self._before + text[at:end]).rstrip(_SPACE)[-_LONGEST_NAME:]
        if bracket in (b"[", b"{"):
            self._depth += 1
            self._opening = bracket
        elif bracket:
            self._depth -= 1
        return end + 1

    def _in_list(self, text: bytes, at: int) -> int:
        """Move on inside a list that may be long, to where a bracket or the end of a run is."""
        end = self._skipped(text, at)
        self._add(text[at:end])
        mark = text[end : end + 1]
        if mark == b"," and self._depth == 2 and self._size >= self._run:
            self._end_run()
            return end + 1
        if mark in (b"]", b"}"):
            self._depth -= 1
            if self._depth < 2:
                self._end_list(mark)
                return end + 1
        elif mark in (b"[", b"{"):
            self._depth += 1
        elif end > at:
            return end
        self._add(mark)
        return end + 1

    def _skipped(self, text: bytes, at: int) -> int:
        """Where the values that begin here end: those of one run, or what is nested in one element."""
        if self._depth > 2:
            return _end(_skip_values, text, at)
        end = _end(_skip_values, text, at, max(0, self._run - self._size))
        return end if end > at else _end(_skip_value, text, at)

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._run + self._longest:
            raise ElementTooLong(self._name())

    def _end_run(self) -> None:
        run = b"".join(self._parts)
        if not run.strip(_SPACE):
            raise msgspec.DecodeError("JSON is malformed: a value is missing")
        self._runs.append(run)
        self._parts, self._size = [], 0

    def _name(self) -> str:
        found = _NAME.search(self._before)
        return _read_name(found[1]) if found else ""

    def _end_list(self, closing: bytes) -> None:
        """Cut the list out if it is long."""
        name = self._name()
        self.cuts.pop(name, None)
        if self._runs or (self._size > 2 * self._run and any(part.strip(_SPACE) for part in self._parts)):
            self._end_run()
            self.cuts[name] = Cut(self._opening, closing, self._runs)
        else:  # short, or nothing but space
            self._head += self._parts
        self._head.append(closing)
        self._before, self._runs, self._parts, self._size = b"", [], [], 0


def _end(pattern: re.Pattern[bytes], text: bytes, at: int, room: int | None = None) -> int:
    """Where the longest match that begins here ends, in so much room."""
    found = pattern.match(text, at, len(text) if room is None else min(len(text), at + room))
    return found.end() if found else at
