"""Images, documents and sounds said in another way: shapes differ only in where they put the same base64.

In a long request the base64 may be a stand-in; then it is never looked at, and never copied (`LongBody.changed`).
"""

from __future__ import annotations

import re

import msgspec

from headrace.bodies import LongBody
from headrace.errors import BadRequest
from headrace.messages import Media

_DATA_URL = re.compile(r"data:(?P<type>[\w.+/-]*)(?:;[^,;]*)*?;base64,", re.IGNORECASE)
_LONGEST_OPENING = 256
"""Characters before the base64 of a `data:` URL: a media type and a few parameters."""


class Inline(msgspec.Struct, frozen=True):
    """Bytes that are in the request itself."""

    type: str
    """Media type; empty where nobody said it."""
    data: str
    """Base64, or its stand-in."""


def inline(media: Media, body: bytes | LongBody) -> Inline | None:
    """The bytes, where the request has them; None where it has an address, or the id of a file.

    `body` is the request's, whose strings may be stand-ins.
    """
    if media.data:
        return Inline(media.type, media.data)
    begun = body.sample(media.url)[0] if isinstance(body, LongBody) else media.url
    match = _DATA_URL.match(begun[:_LONGEST_OPENING])
    if match is None:
        return None
    kind = match["type"] or media.type
    if isinstance(body, LongBody) and media.url in body.literals:
        return Inline(kind, body.changed(media.url, without=b"base64,"))
    return Inline(kind, media.url[match.end() :])


def address(media: Media, body: bytes | LongBody) -> str:
    """One URL that says it all: the address, or a `data:` URL; empty where there is only a file's id.

    Raises:
        BadRequest: the media type is over 1 KiB.
    """
    if media.url or not media.data:
        return media.url
    if isinstance(body, LongBody) and media.type in body.literals:  # after a stand-in nothing may come
        raise BadRequest("A media type is longer than any that there is.")
    opening = f"data:{media.type or 'application/octet-stream'};base64,"
    if isinstance(body, LongBody) and media.data in body.literals:
        return body.changed(media.data, before=opening.encode())
    return opening + media.data
