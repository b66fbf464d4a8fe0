"""`${NAME}` and `${NAME:-default}` in the strings of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

# `$${` stands for the two characters `${`; LiteLLM's own form stands for the whole value.
_TOKEN = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)\}|\$\{")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_LITELLM = re.compile(r"os\.environ/(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


class Expanded(str):
    """A string that came out of the environment: `"8000"` may stand for a number there."""

    __slots__ = ()


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace the variables; the result is `Expanded` if there were any.

    A default counts when the variable is unset or empty, as in a shell. What a variable holds is not expanded again.

    Raises:
        ValueError: A variable is unset and has no default, or the form is wrong; the message names the variable.
    """
    if match := _LITELLM.fullmatch(text):
        return Expanded(_value(match["name"], None, environ))
    if "${" not in text:
        return text
    found = False

    def replace(match: re.Match[str]) -> str:
        nonlocal found
        if match[0] == "$${":
            return "${"
        inside = _INSIDE.fullmatch(match["inside"] or "")
        if inside is None:
            raise ValueError("`${` must be followed by NAME} or NAME:-default}; write `$${` for the two characters")
        found = True
        return _value(inside["name"], inside["default"], environ)

    result = _TOKEN.sub(replace, text)
    return Expanded(result) if found else result


def _value(name: str, default: str | None, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise ValueError(f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}")
    return value
