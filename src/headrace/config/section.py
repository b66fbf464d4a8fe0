"""One mapping of the file: its keys checked, its aliases resolved, its values converted one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from headrace.config.conversion import convert
from headrace.config.problems import Path, Problems, as_mapping, shown, suggest


class Keys(msgspec.Struct, frozen=True):
    """What a section may hold: `aliases` are other spellings, `hints` what to say about keys of elsewhere."""

    known: Collection[str]
    aliases: Mapping[str, str] = MappingProxyType({})
    hints: Mapping[str, str] = MappingProxyType({})


class Section:
    """Its values by their proper names; `path` gives a key as it is written, so that its line is found."""

    def __init__(self, value: object, path: Path, keys: Keys, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._values: dict[str, object] = {}
        self._written: dict[str, str] = {}
        data = as_mapping(value)
        if data is None:
            some = ", ".join(list(keys.known)[:2])
            problems.value(path, f"expected a mapping with keys such as {some}, got {shown(value)}")
        for key, item in (data or {}).items():
            self._add(key, item, keys)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> object:
        """The value as it is in the file, None if it is not there."""
        return self._values.get(key)

    def path(self, *keys: str) -> Path:
        """The path of this section, or of something in it."""
        return (*self._path, *(self._written.get(key, key) for key in keys))

    def scalars(self, types: Mapping[str, Any]) -> dict[str, object]:
        """Those of the keys that are there, converted; what cannot be is noted and left out."""
        found: dict[str, object] = {}
        for key, annotation in types.items():
            if key in self._values:
                try:
                    found[key] = convert(self._values[key], annotation)
                except ValueError as error:
                    self._problems.value(self.path(key), str(error))
        return found

    def note(self, key: str, text: str) -> None:
        """Note what is wrong with the value of a key."""
        self._problems.value(self.path(key), text)

    def note_key(self, key: str, text: str) -> None:
        """Note that a key should not be there."""
        self._problems.key(self.path(key), text)

    def note_missing(self, key: str, text: str) -> None:
        """Note that a key should be there: the place is that of the section."""
        self._problems.value(self.path(key), f"missing: {text}")

    def _add(self, written: str, item: object, keys: Keys) -> None:
        key = keys.aliases.get(written, written)
        if key in self._values:
            self._problems.key((*self._path, written), f"is the same as {self._written[key]}: keep one of them")
        elif key in keys.known:
            self._values[key] = item
            self._written[key] = written
        else:
            hint = keys.hints.get(written) or suggest(written, [*keys.known, *keys.aliases])
            self._problems.key((*self._path, written), f"unknown key; {hint}")
