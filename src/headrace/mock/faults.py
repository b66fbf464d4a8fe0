"""What can go wrong: the names, their arguments, and how they are written.

`NAME[:ARGUMENT,…]`, several of them separated by `;`. An argument is a value, or `name=value`. Every fault also takes
`first=K` (only the first K times) and `probability=P`. "After N" counts frames that carry a part of the answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from headrace.config.quantities import parse_bytes, parse_seconds
from headrace.errors import BadRequest


class Param(msgspec.Struct, frozen=True):
    """One argument, by its place or by its name."""

    name: str
    read: Callable[[str], Any]
    default: Any


class Kind(msgspec.Struct, frozen=True):
    """One fault that exists."""

    summary: str
    example: str
    params: tuple[Param, ...] = ()
    whole: bool = False
    """Whether it also concerns an answer that is not streamed."""


class Fault(msgspec.Struct, frozen=True):
    """One fault that is asked for."""

    name: str
    values: Mapping[str, Any]
    first: int = 0
    """Only so many times; 0 is always."""
    probability: float = 1.0
    text: str = ""
    """As it was written."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("expected a whole number")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise ValueError("expected a whole number above zero")
    return int(text)


def _line(text: str) -> int:
    size = parse_bytes(text)
    if size > _LONGEST_LINE:
        raise ValueError("expected at most 1GiB, which is made in memory")
    return size


def _status(text: str) -> int:
    if not 400 <= _count(text) <= 599:
        raise ValueError("expected an HTTP status from 400 to 599")
    return int(text)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return value


def _how(text: str) -> bool:
    if text not in ("close", "reset"):
        raise ValueError("expected close or reset")
    return text == "reset"


def _form(text: str) -> str:
    if text not in ("failed", "error"):
        raise ValueError("expected failed or error")
    return text


def _header(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("expected the value of a header")
    return text


_LONGEST_LINE: Final = 2**30
_AFTER: Final = Param("after", _count, 3)
_HOW: Final = Param("how", _how, False)

# In the order in which they are applied: content, cuts between and in frames, the form of the lines, the bytes.
KINDS: Final[dict[str, Kind]] = {
    "refuse": Kind("reset the connection without an answer", "refuse:first=2", whole=True),
    "status": Kind(
        "answer with an HTTP error and, if wanted, Retry-After",
        "status:429,retry-after=2,first=1",
        (Param("code", _status, 503), Param("retry-after", parse_seconds, None)),
        whole=True,
    ),
    "wrong-content-type": Kind(
        "declare another content type", "wrong-content-type:text/html", (Param("type", _header, "text/html"),), True
    ),
    "hang-before-headers": Kind("take the request and say nothing", "hang-before-headers", whole=True),
    "hang-before-first-token": Kind("send the headers and nothing more", "hang-before-first-token", whole=True),
    "duplicate-frames": Kind(
        "send every Nth frame twice, or every one", "duplicate-frames:5", (Param("every", _positive, 1),)
    ),
    "garbage": Kind("one frame that is not JSON, after N", "garbage:3", (_AFTER,)),
    "long-line": Kind(
        "one frame with a line of this size, after N",
        "long-line:10MB,after=3",
        (Param("size", _line, 10_000_000), _AFTER),
    ),
    "hang-between-tokens": Kind("stop after N and keep the connection", "hang-between-tokens:10", (_AFTER,)),
    "error-frame": Kind(
        "an error in the stream after N, then a clean end",
        "error-frame:3,form=error",
        (_AFTER, Param("form", _form, "failed")),
    ),
    "no-terminal": Kind("end cleanly after N, without finish and marker", "no-terminal:10", (_AFTER,)),
    "no-done": Kind("end cleanly with the finish, without the marker", "no-done"),
    "keep-open": Kind("send the whole answer and keep the connection open", "keep-open"),
    "cut-frames": Kind("cut the connection after N", "cut-frames:10,how=reset", (_AFTER, _HOW)),
    "cut-in-frame": Kind("cut in the middle of the frame after N", "cut-in-frame:10", (_AFTER, _HOW)),
    "cut-in-character": Kind("cut inside a UTF-8 character after N", "cut-in-character:0", (_AFTER, _HOW)),
    "comments": Kind("put a comment before every frame", "comments"),
    "crlf": Kind("end lines with CR LF", "crlf"),
    "cr": Kind("end lines with a lone CR", "cr"),
    "bom": Kind("begin with a byte order mark", "bom"),
    "gzip": Kind("compress, though nobody asked for it", "gzip", whole=True),
    "cut-bytes": Kind(
        "cut after so many bytes of the body", "cut-bytes:1000", (Param("bytes", parse_bytes, 100), _HOW), True
    ),
    "slow-drip": Kind(
        "send few bytes at a time, with a pause each",
        "slow-drip:1,2ms",
        (Param("bytes", _positive, 1), Param("gap", parse_seconds, 0.001)),
        True,
    ),
    "none": Kind("no faults for this request, whatever else is said", "none", whole=True),
}
_ORDER: Final = {name: place for place, name in enumerate(KINDS)}


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Sort faults into the order in which they are applied."""
    return sorted(faults, key=lambda fault: _ORDER[fault.name])


def parse_faults(text: str) -> list[Fault]:
    """Read `NAME[:ARGUMENT,…]; …`.

    Raises:
        BadRequest: there is no such fault, or no such argument; the message names what there is.
    """
    return [_fault(part.strip()) for part in text.split(";") if part.strip()]


def _fault(text: str) -> Fault:
    name, _, rest = text.partition(":")
    kind = KINDS.get(name.strip())
    if kind is None:
        raise BadRequest(f"There is no fault {name.strip()!r}{_hint(name, KINDS)}.", param="fault")
    params = {param.name: param for param in (*kind.params, _FIRST, _CHANCE)}
    values = {param.name: param.default for param in params.values()}
    for place, argument in enumerate(part.strip() for part in rest.split(",") if part.strip()):
        key, equals, value = argument.partition("=")
        if not equals:
            key, value = _by_place(kind, name, place), argument
        values[key] = _read(params, name, key, value)
    first, probability = values.pop("first"), values.pop("probability")
    return Fault(name.strip(), values, first, probability, text)


_FIRST: Final = Param("first", _positive, 0)
_CHANCE: Final = Param("probability", _probability, 1.0)


def _by_place(kind: Kind, name: str, place: int) -> str:
    if place >= len(kind.params):
        raise BadRequest(f"The fault {name} takes {len(kind.params)} arguments without a name.", param="fault")
    return kind.params[place].name


def _read(params: Mapping[str, Param], name: str, key: str, value: str) -> Any:
    if key not in params:
        raise BadRequest(f"The fault {name} has no argument {key!r}{_hint(key, params)}.", param="fault")
    try:
        return params[key].read(value)
    except ValueError as error:
        raise BadRequest(f"The fault {name}: {key}: {error}, got {value!r}.", param="fault") from None


def _hint(word: str, known: Iterable[str]) -> str:
    words = list(known)
    near = difflib.get_close_matches(word.strip(), words, n=1)
    return f": did you mean {near[0]}?" if near else f": known are {', '.join(words)}"
