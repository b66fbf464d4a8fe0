"""One value -> the type that the schema gives its key."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast, get_type_hints

import msgspec

from headrace.config.expansion import Expanded
from headrace.config.problems import as_list, as_mapping, shown


@cache
def scalar_types(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The annotated type of every key that has one value; lists and names have no annotation and are read apart."""
    hints = get_type_hints(struct, include_extras=True)
    return {name: hints[name] for name in struct.__struct_fields__ if hasattr(hints[name], "__metadata__")}


def convert(value: object, annotation: Any, *, lenient: bool = False) -> object:
    """Check a value and bring it to its type; `lenient` reads numbers out of strings, as the environment needs.

    Raises:
        ValueError: The message completes `<place>: `: what was expected and what is there.
    """
    meta = cast("msgspec.Meta", annotation.__metadata__[0])
    if value is None or as_mapping(value) is not None or as_list(value) is not None:
        raise ValueError(f"expected {meta.description}, got {shown(value)}")
    lenient = lenient or isinstance(value, Expanded)
    read = value
    if isinstance(value, str):
        read = value.strip() if lenient else str(value)
        if meta.extra is not None:
            read = _parsed(meta.extra["parse"], read, value)
    try:
        return msgspec.convert(read, annotation, strict=not lenient)
    except msgspec.ValidationError:
        raise ValueError(f"expected {meta.description}, got {shown(value)}") from None


def _parsed(parse: Callable[[str], object], text: str, value: object) -> object:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{error}, got {shown(value)}") from None
