"""What happens to a generation when its last reader leaves (P8)."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from headrace.config.quantities import parse_seconds

# A reader that needs longer than a day does not come back to a connection; `continue` says that better.
LONGEST_GRACE: Final = 86_400.0

_GRACE = re.compile(r"grace(?:\((?P<call>[^()]*)\)|=(?P<pair>.*))")
_EXPECTED = "expected cancel, continue or grace(seconds), such as grace(30) or grace=30"


class Disconnect(msgspec.Struct, frozen=True):
    """A policy; `seconds` counts only for `grace`, from the moment the last reader left."""

    mode: Literal["cancel", "continue", "grace"]
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"grace({self.seconds:g})" if self.mode == "grace" else self.mode


def parse_disconnect(text: str) -> Disconnect:
    """Read `cancel`, `continue`, `grace(30)` or `grace=30`, as in a file or in `Headrace-On-Disconnect`.

    Raises:
        ValueError: It is none of these, or the grace is over a day; the message says what would be right.
    """
    word = text.strip().lower()
    if word == "cancel" or word == "continue":
        return Disconnect(word)
    match = _GRACE.fullmatch(word)
    if match is None:
        raise ValueError(_EXPECTED)
    try:
        seconds = parse_seconds(match["call"] if match["call"] is not None else match["pair"])
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if seconds > LONGEST_GRACE:
        raise ValueError(f"a grace is at most {LONGEST_GRACE:.0f} seconds; use continue for longer")
    return Disconnect("grace", seconds)
