"""A conversation that is kept in links, each with what was asked and what was answered, as one request.

Its JSON is moved, not read: items stay as they are, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec
from msgspec import Raw

from headrace.bodies import Cut, LongBody

INPUT = "input"
PREVIOUS = "previous_response_id"

Asked = bytes | LongBody
"""A request that was taken by `parse` before."""

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str | None).decode
_encode = msgspec.json.encode
_NULL = Raw(b"null")


class _Kept(msgspec.Struct, frozen=True):
    store: bool | None = None


class _FirstFrame(msgspec.Struct):
    response: _Kept = _Kept()


_first_frame = msgspec.json.Decoder(_FirstFrame).decode


class Link(msgspec.Struct, frozen=True):
    """One request, and the items of its answer as JSON."""

    asked: Asked
    output: Sequence[bytes]


def previous_of(asked: Asked) -> str | None:
    """The public id of the answer that a request continues."""
    return _text_of(_fields(asked).get(PREVIOUS, _NULL))


def joined(asked: Asked, links: Iterable[Link]) -> Iterator[bytes]:
    """The request with all that was said before it, the oldest link first, in pieces: it continues nothing any more.

    Instructions of earlier requests are not carried over, as at OpenAI.
    """
    mark = b"{"
    for name, value in _others(asked):
        yield mark
        yield from chain(_restored(asked, _encode(name)), (b":",), value)
        mark = b","
    yield mark + b'"input":'
    mark = b"["
    for run in chain(*map(_said, links), _runs(asked)):
        yield mark
        yield from run
        mark = b","
    yield b"]}" if mark == b"," else b"[]}"


def continuing(asked: Asked, upstream_id: str) -> Asked:
    """The same request where the model server itself has what was said before, under an id of its own."""
    head = _encode({**_fields(asked), PREVIOUS: upstream_id})
    return msgspec.structs.replace(asked, head=head) if isinstance(asked, LongBody) else head


def says_stored(frame: Raw | None) -> bool:
    """Whether a model server says, in its first frame, that it keeps the answer: not all that speak this shape do."""
    return frame is not None and _first_frame(frame).response.store is True


def said_by(asked: Asked) -> Iterator[bytes]:
    """The JSON of what a request says: some items at a time, with commas between them; strings may be stand-ins."""
    if isinstance(asked, LongBody) and INPUT in asked.cuts:
        yield from asked.cuts[INPUT].runs
        return
    value = bytes(_fields(asked).get(INPUT, _NULL))
    if value.startswith(b'"'):
        yield _encode({"role": "user", "content": Raw(value)})
    elif value.startswith(b"[") and (items := value[1:-1].strip()):
        yield items


def _said(link: Link) -> Iterator[Iterator[bytes]]:
    return chain(_runs(link.asked), (iter((item,)) for item in link.output))


def _runs(asked: Asked) -> Iterator[Iterator[bytes]]:
    return (_restored(asked, run) for run in said_by(asked))


def _others(asked: Asked) -> Iterator[tuple[str, Iterator[bytes]]]:
    """All fields but those that say the conversation, each with its JSON in pieces."""
    cuts: Mapping[str, Cut] = asked.cuts if isinstance(asked, LongBody) else {}
    for name, value in _fields(asked).items():
        if name not in (INPUT, PREVIOUS):
            pieces = cuts[name].whole() if name in cuts else (bytes(value),)
            yield name, chain.from_iterable(_restored(asked, piece) for piece in pieces)


def _fields(asked: Asked) -> dict[str, Raw]:
    return _fields_of(asked.head if isinstance(asked, LongBody) else asked)


def _restored(asked: Asked, data: bytes) -> Iterator[bytes]:
    return asked.restored(data) if isinstance(asked, LongBody) else iter((data,))
