"""Parts of a message in Headrace's own shape: `Part` as JSON, and whatever else an upstream understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from headrace.dialects.base import read_json
from headrace.errors import BadRequest
from headrace.messages import Media, Part

_Text = Annotated[str, Meta(min_length=1)]


class _Kind(msgspec.Struct):
    type: str


class _Words(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    text: str


class _Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    text: str
    signature: str = ""


class _Redacted(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    signature: _Text


class _Image(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    url: _Text = ""
    data: _Text = ""
    media_type: _Text = ""
    file_id: _Text = ""
    detail: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    url: _Text = ""
    data: _Text = ""
    media_type: _Text = ""
    file_id: _Text = ""
    name: str = ""


class _Audio(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    data: _Text
    format: _Text


def read_part(where: str, raw: Raw) -> Part:
    """One part of a message's content; `where` is its path.

    Raises:
        BadRequest: naming the field. Of a part whose type is not one of ours only the type is read.
    """
    kind = read_json(_decode_kind, raw, where).type
    if kind not in _KINDS:
        return Part(kind, raw=raw)
    decode, made = _KINDS[kind]
    part = made(read_json(decode, raw, where))
    if part.media is not None:
        _check(part.media, where)
    return part


def _check(media: Media, where: str) -> None:
    if sum(map(bool, (media.url, media.data, media.file_id))) != 1:
        raise BadRequest(f"{where}: expected one of url, data and file_id.", param=where)
    if media.data and not media.type:
        raise BadRequest(f"{where}.media_type is missing.", param=f"{where}.media_type")


def _words(part: _Words) -> Part:
    return Part(part.type, part.text)


def _reasoning(part: _Reasoning) -> Part:
    return Part("reasoning", part.text, signature=part.signature)


def _redacted(part: _Redacted) -> Part:
    return Part("redacted", signature=part.signature)


def _image(part: _Image) -> Part:
    media = Media(data=part.data, type=part.media_type, url=part.url, file_id=part.file_id, detail=part.detail)
    return Part("image", media=media)


def _file(part: _File) -> Part:
    media = Media(data=part.data, type=part.media_type, url=part.url, file_id=part.file_id, name=part.name)
    return Part("file", media=media)


def _audio(part: _Audio) -> Part:
    return Part("audio", media=Media(data=part.data, type=part.format))


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_words = msgspec.json.Decoder(_Words).decode
_KINDS: dict[str, tuple[Callable[[bytes | Raw], Any], Callable[[Any], Part]]] = {
    "text": (_decode_words, _words),
    "refusal": (_decode_words, _words),
    "reasoning": (msgspec.json.Decoder(_Reasoning).decode, _reasoning),
    "redacted": (msgspec.json.Decoder(_Redacted).decode, _redacted),
    "image": (msgspec.json.Decoder(_Image).decode, _image),
    "audio": (msgspec.json.Decoder(_Audio).decode, _audio),
    "file": (msgspec.json.Decoder(_File).decode, _file),
}
