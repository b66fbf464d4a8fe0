"""Collects what is wrong with a configuration, each with its place, so that one start shows all of it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import cast

from headrace.config.expansion import Expanded
from headrace.errors import ConfigError

Path = tuple[str | int, ...]

_LONGEST_SHOWN = 60
_MANY = 15
_AFTER_THE_FILE = 10**9


class Places:
    """Where in a file each value and each key stands: line and column, both from 1."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[Path, tuple[int, int]] = {}
        self.keys: dict[Path, tuple[int, int]] = {}

    def of_value(self, path: Path) -> tuple[int, int]:
        """The place of a value, or of the nearest thing around it that is in the file."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (1, 1))

    def of_key(self, path: Path) -> tuple[int, int]:
        """The place of a key; a list item has none, so it is its value."""
        return self.keys.get(path) or self.of_value(path)


class Problems:
    """The first message of every place: what a wrong value leads to later is no news."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._notes: dict[tuple[int, int, str], str] = {}

    def value(self, path: Path, text: str) -> None:
        """Note what is wrong with a value, or missing in it; the path is such as `("model_list", 0, "params")`."""
        self._note(self.places.of_value(path), path, text)

    def key(self, path: Path, text: str) -> None:
        """Note what is wrong with a key."""
        self._note(self.places.of_key(path), path, text)

    def at(self, place: str, text: str) -> None:
        """Note a problem that is not in the file: the place is an environment variable or an option."""
        self._notes.setdefault((_AFTER_THE_FILE, 0, place), text)

    def raise_any(self) -> None:
        """Raise what was noted, one line each: the file's from top to bottom, then the others.

        Raises:
            ConfigError: Something was noted.
        """
        if self._notes:
            raise ConfigError("\n".join(f"{place}: {text}" for (_, _, place), text in sorted(self._notes.items())))

    def _note(self, at: tuple[int, int], path: Path, text: str) -> None:
        line, column = at
        place = f"{self.places.file}:{line}:{column}" + (f": {dotted(path)}" if path else "")
        self._notes.setdefault((line, column, place), text)


def dotted(path: Path) -> str:
    """Write a path as people read it: `model_list[0].params.model`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in path)
    return text.removeprefix(".")


def _printable(key: str) -> str:
    # A line break or an escape sequence must not reach the terminal.
    return key if key.isprintable() else json.dumps(key)


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, else all of them if they are few."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return "docs/configuration.md has all of them" if len(words) > _MANY else f"known are {', '.join(words)}"


def shown(value: object) -> str:
    """A wrong value as an error may show it; never call it with a key, a header or an address (P36)."""
    if isinstance(value, Expanded):
        return "something else from the environment"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=not str(value).isprintable()) if isinstance(value, str | bool) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def as_mapping(value: object) -> dict[str, object] | None:
    """The value as a mapping, or None; the YAML source gives every mapping string keys."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """The value as a list, or None."""
    return cast("list[object]", value) if isinstance(value, list) else None
