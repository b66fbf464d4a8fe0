"""A request's JSON, read in steps that nobody notices."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from typing import Protocol, TypeVar

import anyio.lowlevel
import msgspec

from headrace.bodies import LARGEST_STEP, LongBody
from headrace.codecs import NOT_JSON
from headrace.codecs.cutting import ElementTooLong
from headrace.codecs.long_body import LongBodyReader
from headrace.dialects.base import invalid_json
from headrace.dialects.long import Steps
from headrace.errors import BadRequest
from headrace.messages import Request
from headrace.transforms.estimate import PromptEstimate

S = TypeVar("S")
T = TypeVar("T")

_STEP = 64 * 1024
"""Bytes of a long body that are looked at in one go, in about a millisecond."""


class Reading(Protocol):
    """How the bodies of one route are read; a `Dialect` is one."""

    def parse(self, body: bytes) -> Request:
        """See `Dialect.parse`."""
        ...

    def parse_long(self, body: LongBody) -> Steps[Request]:
        """See `Dialect.parse_long`."""
        ...


async def parsed(body: bytes | LongBody, shape: Reading) -> Request:
    """The request in a body, which is read in steps if it is long. Raises `BadRequest`."""
    if isinstance(body, bytes):
        return shape.parse(body)
    estimate = PromptEstimate()
    asked = await in_steps(shape.parse_long(body), lambda messages: estimate.add(messages, body))
    estimate.add_tools(asked.tools)
    return msgspec.structs.replace(asked, input_tokens=estimate.tokens)


async def gathered(pieces: AsyncIterator[bytes]) -> bytes | LongBody:
    """A body that comes in pieces: in one, or in parts that each can be parsed in one go.

    Raises:
        BadRequest: a long one is not JSON, as far as that is looked at here, or has a value that is too long.
    """
    begun = bytearray()
    async for piece in pieces:
        begun += piece
        if len(begun) > LARGEST_STEP:
            return await _read_long(begun, pieces)
    return bytes(begun)


async def stepwise(pieces: Iterable[bytes]) -> AsyncGenerator[bytes]:
    """Pieces that are made one at a time, for `gathered`; others run between them."""
    size = 0
    for piece in pieces:
        yield piece
        size += len(piece)
        if size >= _STEP:
            size = 0
            await anyio.lowlevel.checkpoint()


async def _read_long(begun: bytearray, pieces: AsyncIterator[bytes]) -> LongBody:
    # What the stand-ins begin with is in no body: nobody can know it.
    reader = LongBodyReader(secrets.token_hex(16))

    async def take(least: int) -> None:
        while len(begun) >= least:
            reader.feed(bytes(begun[:_STEP]))
            del begun[:_STEP]
            await anyio.lowlevel.checkpoint()

    await take(_STEP)
    async for piece in pieces:
        begun.extend(piece)
        await take(_STEP)
    await take(1)
    try:
        return reader.finish()
    except NOT_JSON as problem:
        raise invalid_json(problem) from problem
    except ElementTooLong as problem:
        name = str(problem)
        text = f"A value in {name} is over {LARGEST_STEP} bytes beside its long texts, too much for one value."
        raise BadRequest(text, param=name) from problem


async def in_steps(steps: Generator[S, None, T], took: Callable[[S], None] = lambda _: None) -> T:
    """Run a generator to its end and return what it returns; others run between its steps, each given to `took`."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        took(step)
        await anyio.lowlevel.checkpoint()
