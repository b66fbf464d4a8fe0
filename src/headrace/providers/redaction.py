"""Keys out of everything that people read: model servers quote the key that they refuse (P36)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from headrace.errors import HeadraceError

MASK = "***"

# The beginnings that vendors give their keys, and whatever follows the name of an authentication scheme. `*` and `.`
# belong to them: a server shows `sk-ab***yz` or `sk-ab...yz`.
_KEY = re.compile(r"\b(?:(?:sk|gsk|xai|pplx|hf|r8|fw|nvapi|tgp|csk)[-_]|AIza)[\w*.-]{6,}")
_CREDENTIAL = re.compile(r"\b(Bearer|Basic)(\s+)[^\s\"',;]+", re.IGNORECASE)
# What is shorter is a flag or a word, and masking it would eat ordinary text.
_SHORTEST_SECRET = 8


class Redactor:
    """Knows one provider's configured keys and the usual look of any other."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets` are whole header values or keys; of `Bearer abc` the part behind the scheme is one as well."""
        found: set[str] = set()
        for secret in secrets:
            found |= {secret, secret.rpartition(" ")[2]}
        # The longest first: one secret may be part of another.
        self._secrets = sorted((text for text in found if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with every key masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _CREDENTIAL.sub(rf"\1\2{MASK}", text)
        return _KEY.sub(MASK, text)

    def error(self, error: HeadraceError) -> HeadraceError:
        """The same error, its message masked in place."""
        error.message = self.text(error.message)
        error.args = (error.message,)
        return error
