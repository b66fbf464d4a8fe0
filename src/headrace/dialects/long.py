"""Long requests, in every shape: read in steps between which others may run, and written in pieces.

What a long body has is refused as in a short one; of several mistakes, another may be told first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw

from headrace.bodies import LARGEST_STEP, Cut, LongBody
from headrace.codecs import NOT_JSON
from headrace.dialects.base import read_json
from headrace.errors import BadRequest
from headrace.messages import LongMessages, Message, Request

MESSAGES = "messages"

T = TypeVar("T")
Steps = Generator[Sequence[Message], None, T]
"""Each step gives the messages that it has read."""

_ENOUGH_METADATA = 64 * 1024
"""Characters, more than any limit has: what comes after them is refused with them."""

_BATCH = 256
"""Messages that are made in one go, 2 ms at most."""

_check = msgspec.json.Decoder(Raw).decode
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_elements_of = msgspec.json.Decoder(list[Raw]).decode


def _as_they_are(_: Any, batches: Iterator[Sequence[Message]]) -> Iterator[Sequence[Message]]:
    """The messages of a shape that lists whole messages."""
    return batches


class Shape(msgspec.Struct, frozen=True):
    """How one API shape reads a body. What was decoded has its messages as `messages`."""

    body: Callable[[bytes | Raw], Any]
    """Decodes it."""
    rest: Callable[[bytes | Raw], Any]
    """Decodes it without its messages."""
    fields: frozenset[str]
    """Names of what is decoded; all else is only checked."""
    message: Callable[[bytes | Raw], Any]
    """Decodes one message."""
    run: Callable[[bytes | Raw], list[Any]]
    """Decodes a list of them."""
    made: Callable[[int, Any], Sequence[Message]]
    """The messages that a decoded one is, by its index."""
    name: str = MESSAGES
    """The field that they are in."""
    turns: Callable[[Any, Iterator[Sequence[Message]]], Iterator[Sequence[Message]]] = _as_they_are
    """What the decoded body makes of them, where a turn may have several, or the body has more of them elsewhere."""


def too_long(name: str) -> BadRequest:
    """What the caller is told of a value that would have to be looked at in one go."""
    text = f"{name or 'The body'} is over {LARGEST_STEP} bytes beside its long texts, too much for one value."
    return BadRequest(text, param=name or None)


def read(body: LongBody, shape: Shape, request_of: Callable[[Any, Collection[Message]], Request]) -> Steps[Request]:
    """Read a request in steps.

    Raises:
        BadRequest: as `Dialect.parse`.
    """
    text = yield from _short(body, shape)
    given = body.cuts.get(shape.name)
    decoded = read_json(shape.body if given is None else shape.rest, text)
    messages: Collection[Message]
    if given is None:
        messages = messages_of(decoded, shape)
        yield messages
    else:
        length = 0
        for batch in shape.turns(decoded, _batches(given, shape)):
            length += len(batch)
            yield batch
        messages = LongMessages(length, lambda: shape.turns(decoded, _batches(given, shape)))
    request = request_of(decoded, messages)
    model, _ = body.sample(request.model)
    return msgspec.structs.replace(request, model=model, metadata=_metadata(body, request.metadata))


def messages_of(decoded: Any, shape: Shape) -> tuple[Message, ...]:
    """All messages of a decoded body. Raises `BadRequest`."""
    made = list(_made(shape, 0, decoded.messages))
    return tuple(itertools.chain.from_iterable(shape.turns(decoded, iter((made,)))))


def _short(body: LongBody, shape: Shape) -> Steps[bytes]:
    """The JSON that is decoded in one go: without the messages if they are long, and without other long values."""
    if len(body.head) > LARGEST_STEP:
        raise too_long("")
    put_back: dict[str, Raw] = {}
    for name, cut in body.cuts.items():
        if name == shape.name:
            continue
        if name in shape.fields:
            if cut.size > LARGEST_STEP:
                raise too_long(name)
            put_back[name] = Raw(b"".join(cut.whole()))
        else:
            for run in cut.lists():
                read_json(_check, run)
                yield ()
    return msgspec.json.encode({**read_json(_fields_of, body.head), **put_back}) if put_back else body.head


def _batches(cut: Cut, shape: Shape) -> Iterator[list[Message]]:
    """All messages, some at a time. Raises `BadRequest`."""
    index = 0
    for run in cut.lists():
        try:
            decoded = shape.run(run)
        except NOT_JSON:  # once more one by one, to say in which it is
            elements = read_json(_elements_of, run)
            decoded = [
                read_json(shape.message, element, f"{shape.name}[{number}]")
                for number, element in enumerate(elements, index)
            ]
        for begin in range(0, len(decoded), _BATCH):
            batch = decoded[begin : begin + _BATCH]
            yield list(_made(shape, index, batch))
            index += len(batch)


def _made(shape: Shape, first: int, decoded: Iterable[Any]) -> Iterator[Message]:
    return itertools.chain.from_iterable(shape.made(index, message) for index, message in enumerate(decoded, first))


def _metadata(body: LongBody, given: Mapping[str, str]) -> dict[str, str]:
    """The metadata itself, which is not only written to the upstream."""
    metadata: dict[str, str] = {}
    size = 0
    for pair in given.items():
        name, value = (body.sample(text)[0] for text in pair)
        metadata[name] = value
        size += len(name) + len(value)
        if size > _ENOUGH_METADATA:
            break
    return metadata


def batches_of(messages: Collection[Message]) -> Iterator[Sequence[Message]]:
    """Messages, some at a time."""
    return messages.batches() if isinstance(messages, LongMessages) else iter([tuple(messages)])


def written(body: LongBody, fields: Mapping[str, Any]) -> Iterator[bytes]:
    """A JSON object, in pieces; a value that is an iterator gives its JSON in pieces too."""
    mark = b"{"
    for name, value in fields.items():
        yield mark
        yield from body.restored(msgspec.json.encode(name))
        yield b":"
        pieces = cast("Iterator[bytes]", value) if isinstance(value, Iterator) else iter((msgspec.json.encode(value),))
        for piece in pieces:
            yield from body.restored(piece)
        mark = b","
    yield b"}"


def lists_of(batches: Iterable[list[Any]]) -> Iterator[bytes]:
    """One JSON list of what comes in several."""
    mark = b"["
    for batch in batches:
        if batch:
            yield mark + msgspec.json.encode(batch)[1:-1]
            mark = b","
    yield b"]" if mark == b"," else b"[]"
