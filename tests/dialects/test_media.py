"""Images said in another way, also where their base64 is a stand-in of a long request."""

from __future__ import annotations

import base64

import msgspec
import pytest

from headrace.bodies import LongBody
from headrace.codecs.long_body import LongBodyReader
from headrace.dialects.media import Inline, address, inline
from headrace.errors import BadRequest
from headrace.messages import Media

PICTURE = base64.b64encode(bytes(range(256)) * 8).decode()


def long_body(value: str) -> tuple[LongBody, str]:
    """A long request that has this string, and the string's stand-in."""
    reader = LongBodyReader("t0ken", longest=64)
    reader.feed(msgspec.json.encode({"image": value}))
    body = reader.finish()
    return body, msgspec.json.decode(body.head)["image"]


def written(body: LongBody, text: str) -> str:
    return msgspec.json.decode(b"".join(body.restored(msgspec.json.encode(text))))


@pytest.mark.parametrize("url", [f"data:image/png;base64,{PICTURE}", f"data:image/png;name=a.png;base64,{PICTURE}"])
def test_a_data_url_is_its_type_and_its_bytes(url: str) -> None:
    assert inline(Media(url=url), b"") == Inline("image/png", PICTURE)
    body, stand_in = long_body(url)
    assert stand_in != url
    found = inline(Media(url=stand_in), body)
    assert found is not None
    assert (found.type, written(body, found.data)) == ("image/png", PICTURE)
    assert written(body, stand_in) == url


@pytest.mark.parametrize(
    "media", [Media(url="https://example.org/a.png"), Media(url="data:,plain"), Media(file_id="f")]
)
def test_what_is_elsewhere_is_not_inline(media: Media) -> None:
    assert inline(media, b"") is None
    assert address(media, b"") == media.url


def test_a_media_type_of_over_a_kibibyte_is_refused() -> None:
    body, stand_in = long_body("image/" + "x" * 2000)
    with pytest.raises(BadRequest, match="media type"):
        address(Media(data="AAAA", type=stand_in), body)


def test_bytes_become_a_data_url() -> None:
    url = f"data:image/png;base64,{PICTURE}"
    assert address(Media(data=PICTURE, type="image/png"), b"") == url
    body, stand_in = long_body(PICTURE)
    media = Media(data=stand_in, type="image/png")
    assert written(body, address(media, body)) == url
    assert inline(media, body) == Inline("image/png", stand_in)
