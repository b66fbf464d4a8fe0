"""What people write on the command line, read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.bench.measurement import METRICS
from headrace.errors import ConfigError

_GOODPUT: Final = ("ttft", "tpot", "e2el")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


def parse_rate(text: str) -> float:
    """Requests per second, or `inf`.

    Raises:
        ConfigError: it is no number above zero.
    """
    return _positive("--request-rate", text)


def parse_burstiness(text: str) -> float:
    """The shape of the gamma distribution.

    Raises:
        ConfigError: it is no number above zero.
    """
    return _positive("--burstiness", text)


def _positive(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise ConfigError(f"{option}: expected a number above zero, or inf, got {text!r}")
    return value


def parse_concurrency(text: str) -> list[int]:
    """Read `10` or `1,10,50`.

    Raises:
        ConfigError: one of them is no whole number above zero.
    """
    found = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in found):
        raise ConfigError(f"--max-concurrency: expected whole numbers above zero such as 10 or 1,10,50, got {text!r}")
    return list(dict.fromkeys(map(int, found)))


def parse_goodput(texts: Sequence[str]) -> dict[str, float]:
    """Read `ttft:200`, in milliseconds; several are parted by commas or blanks. The values are seconds.

    Raises:
        ConfigError: one of them cannot be read.
    """
    found: dict[str, float] = {}
    for part in " ".join(texts).replace(",", " ").split():
        name, _, value = part.partition(":")
        try:
            if name not in _GOODPUT:
                raise ValueError
            found[name] = float(value) / 1000
        except ValueError:
            raise ConfigError(f"--goodput: expected such as ttft:200 tpot:50 e2el:2000, got {part!r}") from None
    return found


def parse_metrics(text: str) -> tuple[str, ...]:
    """Read `ttft,tpot`.

    Raises:
        ConfigError: there is no such metric.
    """
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"--percentile-metrics: there is no {name!r}; there are {', '.join(METRICS)}")
    return names


def parse_percentiles(text: str) -> tuple[float, ...]:
    """Read `50,99.9`.

    Raises:
        ConfigError: one is no number from 0 to 100.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= percent <= 100 for percent in found):
        raise ConfigError(f"--metric-percentiles: expected numbers from 0 to 100 such as 50,99, got {text!r}")
    return found


def parse_headers(texts: Sequence[str]) -> dict[str, str]:
    """Read `NAME:VALUE`, each one header.

    Raises:
        ConfigError: one has no colon, or a character that a header cannot have.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(f"--header: expected NAME:VALUE in ASCII, got {name!r} and so on")
        found[name] = value.strip()
    return found


def parse_keys(texts: Sequence[str], targets: Sequence[str]) -> dict[str, str]:
    """Read `KEY`, for all targets, and `TARGET=KEY`, for one; the result has every target that has a key.

    Raises:
        ConfigError: a key has a character that a header cannot have.
    """
    for_all, own = "", dict[str, str]()
    for text in texts:
        name, equals, key = text.partition("=")
        if equals and name in targets:
            own[name] = key
        else:
            for_all, key = text, text
        if not _VALUE.fullmatch(key):
            raise ConfigError("--api-key: a key is printable ASCII")
    keys = {name: own.get(name, for_all) for name in targets}
    return {name: key for name, key in keys.items() if key}


def parse_body(text: str) -> Mapping[str, Any]:
    """Read the JSON object of `--extra-body`.

    Raises:
        ConfigError: it is none.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f"--extra-body: expected a JSON object, got {text!r}: {error}") from None
