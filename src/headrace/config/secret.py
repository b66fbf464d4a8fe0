"""A string that no repr, log line or error message shows (P36)."""

from __future__ import annotations

import hmac


class Secret:
    """Wraps a key or token; only `reveal` gives the text back.

    It is no `str`, so it can be neither formatted nor serialised by accident.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: call it where the bytes go on the wire, and nowhere earlier."""
        return self._text

    def matches(self, candidate: str) -> bool:
        """Compare in a time that depends on the candidate only."""
        # `surrogatepass`: a candidate comes from a request and may hold anything.
        ours, theirs = (text.encode("utf-8", "surrogatepass") for text in (self._text, candidate))
        return hmac.compare_digest(ours, theirs)

    def __eq__(self, other: object) -> bool:
        return self.matches(other._text) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"
