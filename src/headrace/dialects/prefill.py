"""A request with the beginning of its answer at the end, for a model server that goes on from there.

Its JSON is moved, not read: everything else stays as it is, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
from msgspec import Raw

from headrace.bodies import LongBody
from headrace.dialects import long
from headrace.dialects.base import Place

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_inner_of = msgspec.json.Decoder(dict[str, Raw] | None).decode
_limit_of = msgspec.json.Decoder(int | None).decode
_encode = msgspec.json.encode
_NULL = Raw(b"null")


def prefilled(body: bytes | LongBody, place: Place, text: str, tokens: int) -> Iterator[bytes]:
    """The JSON of a request that was parsed before, in pieces; `tokens` have been written of what it may have."""
    is_long = isinstance(body, LongBody)
    fields: dict[str, Any] = {**_fields_of(body.head if is_long else body)}
    _lower_limits(fields, place, tokens)
    turn = _encode({"role": "assistant", "content": text})
    cut = body.cuts.get(place.turns) if is_long else None
    if is_long:
        fields |= {name: each.whole() for name, each in body.cuts.items()}
    if cut is not None:
        runs = (b",".join((run, turn)) if number == len(cut.runs) else run for number, run in enumerate(cut.runs, 1))
        fields[place.turns] = chain((b"[",), _parted(runs), (b"]",))
    else:
        fields[place.turns] = _appended(fields.get(place.turns, _NULL), turn)
    if is_long:
        yield from long.written(body, fields)
    else:
        yield _encode(fields)


def _parted(runs: Iterator[bytes]) -> Iterator[bytes]:
    for number, run in enumerate(runs):
        yield b"," + run if number else run


def _appended(turns: Raw, turn: bytes) -> Raw:
    """The conversation with one turn more. It is not empty: no shape takes a request without a turn."""
    said = bytes(turns).strip()
    if said.startswith(b'"'):
        said = b"[%b]" % _encode({"role": "user", "content": turns})
    return Raw(b"%b,%b]" % (said[:-1], turn))


def _lower_limits(fields: dict[str, Any], place: Place, tokens: int) -> None:
    if place.within:
        inner: dict[str, Any] = {**(_inner_of(fields.get(place.within, _NULL)) or {})}
        _lower_limits(inner, Place(limits=place.limits), tokens)
        fields |= {place.within: inner} if inner else {}
        return
    for name in place.limits:
        limit = _limit_of(fields.get(name, _NULL))
        if limit is not None:
            fields[name] = max(1, limit - tokens)
