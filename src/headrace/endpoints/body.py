"""A request's body: what it is declared as, and how long it may be."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request

from headrace.bodies import LongBody
from headrace.engine.reading import gathered
from headrace.errors import PayloadTooLarge, UnsupportedMediaType

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
