"""A request's body: what it is declared as, how long it may be, and its reading in steps that nobody notices."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from typing import TypeVar

import anyio.lowlevel
from starlette.requests import Request

from headrace.bodies import LARGEST_STEP, LongBody
from headrace.codecs import NOT_JSON
from headrace.codecs.cutting import ElementTooLong
from headrace.codecs.long_body import LongBodyReader
from headrace.dialects.base import invalid_json
from headrace.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

S = TypeVar("S")
T = TypeVar("T")

_STEP = 64 * 1024
"""Bytes of a long body that are looked at in one go, in about a millisecond."""
_LONGEST_LENGTH = 20
"""Digits of a Content-Length that are looked at: more than any limit has."""


def check_media_type(request: Request) -> None:
    """Refuse a body that is not plain JSON: what a foreign page may send without asking is never that (P33).

    Raises:
        UnsupportedMediaType: it is declared as something else, as nothing, or as compressed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("Send the body as Content-Type: application/json.", param="content-type")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding.", param="content-encoding")


def has_body(request: Request) -> bool:
    """Whether the request's head announces a body."""
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0").strip("0") != ""


async def read_body(request: Request, limit: int) -> bytes | LongBody:
    """The whole body, at most `limit` bytes.

    Raises:
        UnsupportedMediaType: it is not declared as JSON (P33).
        PayloadTooLarge: it is longer.
        BadRequest: a long one is not JSON, as far as that is looked at here: the rest is the parser's.
    """
    return await gathered(_pieces(request, limit))


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


async def _pieces(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    check_media_type(request)
    too_large = PayloadTooLarge(f"The body is over {limit} bytes (max_request_bytes).")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:_LONGEST_LENGTH]) > limit:
        raise too_large
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large
        yield piece


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
