"""Durations, sizes, flags and counts as people write them: `30s`, `5m`, `1h`, `8MB`, `32MiB`, `yes`, `auto`."""

from __future__ import annotations

import os
import re
import string

# White space at the ends is stripped before: two runs of it side by side would make the search quadratic.
_NUMBER_AND_UNIT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", re.ASCII)

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

# SI prefixes are decimal, IEC prefixes binary (IEC 80000-13). A bare `K`, `M` or `G` would be a guess.
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_seconds(text: str) -> float:
    """Read a duration; a number without a unit is seconds.

    Raises:
        ValueError: It is no number with one of the units ms, s, m, h, d.
    """
    number, unit = _split(text)
    if number is None or unit not in _SECONDS:
        raise ValueError("expected a duration such as 30, 30s, 5m or 1h")
    # A division keeps `50ms` at exactly 0.05.
    return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]


def parse_bytes(text: str) -> int:
    """Read a size; a number without a unit is bytes, and the case of the unit does not matter.

    Raises:
        ValueError: It is no whole number of bytes with one of the units B, KB, MB, GB, KiB, MiB, GiB.
    """
    number, unit = _split(text)
    factor = _BYTES.get(unit.lower())
    if number is None or factor is None:
        raise ValueError("expected a size such as 8388608, 8MB or 32MiB")
    size = float(number) * factor if "." in number else int(number) * factor
    if size != int(size):
        raise ValueError("expected a whole number of bytes, such as 8388608, 8MB or 32MiB")
    return int(size)


def parse_flag(text: str) -> bool:
    """Read what people write into an environment variable for yes and no.

    Raises:
        ValueError: It is neither.
    """
    word = text.lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("expected true or false")


def parse_path(text: str) -> str:
    """Read a path, without spaces around it; `~` is the home directory.

    Raises:
        ValueError: There is none.
    """
    if not text.strip():
        raise ValueError("expected a path")
    return os.path.expanduser(text.strip())


def parse_workers(text: str) -> int | str:
    """Read `auto`, one for each core that this process may use; anything else is left to the type."""
    if text.strip().lower() != "auto":
        return text
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return len(usable) if usable else os.cpu_count() or 1


def _split(text: str) -> tuple[str | None, str]:
    match = _NUMBER_AND_UNIT.fullmatch(text.strip(string.whitespace))
    return (match[1], match[2]) if match else (None, "")
