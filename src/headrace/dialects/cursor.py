"""A position in a view, as the text that clients keep and send back.

`c1u.57` is format `c`, render version 1, parameters `u`, and 57 units already received: data frames for most formats
(the error frame and `[DONE]` count, heartbeats do not), UTF-8 bytes for text. On resume the cursor's own parameters
win over the query's, so a reader always continues the very view it began.
"""

from __future__ import annotations

import re

import msgspec

from headrace.errors import InvalidCursor

_CURSOR = re.compile(r"([a-z])(0|[1-9][0-9]{0,3})([a-z]{0,8})\.(0|[1-9][0-9]{0,11})", re.ASCII)


class Cursor(msgspec.Struct, frozen=True):
    """A format letter, the render version, parameter letters, and how many units were received."""

    code: str
    version: int
    params: str
    position: int

    @property
    def prefix(self) -> str:
        """Everything before the position: constant for one view."""
        return f"{self.code}{self.version}{self.params}."

    def __str__(self) -> str:
        """The text form."""
        return f"{self.prefix}{self.position}"


def parse(text: str) -> Cursor:
    """Read a cursor.

    Raises:
        InvalidCursor: the text is not one.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InvalidCursor(
            "The cursor is not one that this server gave out; send the last `id:` as it was.", param="last_event_id"
        )
    code, version, params, position = match.groups()
    return Cursor(code, int(version), params, int(position))
