"""Parts of a message: read from a caller of this shape, and said in its words for a caller of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from headrace.bodies import LongBody
from headrace.dialects.base import read_json, unsupported
from headrace.dialects.media import address, inline
from headrace.errors import BadRequest
from headrace.messages import Media, Part

_Text = Annotated[str, Meta(min_length=1)]


class _Kind(msgspec.Struct):
    type: str
    text: str | None = None


class _ImageURL(msgspec.Struct):
    url: _Text
    detail: str | None = None


class _Image(msgspec.Struct):
    image_url: _ImageURL | _Text
    """Several servers also take the address alone."""


class _InputAudio(msgspec.Struct):
    data: _Text
    format: _Text


class _Audio(msgspec.Struct):
    input_audio: _InputAudio


class _FileFields(msgspec.Struct):
    file_data: _Text | None = None
    file_id: _Text | None = None
    filename: str | None = None


class _File(msgspec.Struct):
    file: _FileFields


class _Refusal(msgspec.Struct):
    refusal: str


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_image = msgspec.json.Decoder(_Image).decode
_decode_audio = msgspec.json.Decoder(_Audio).decode
_decode_file = msgspec.json.Decoder(_File).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def read_part(where: str, raw: Raw, body: LongBody | None) -> Part:
    """One part of a message's content; `where` is its path, `body` what its strings may stand for.

    Raises:
        BadRequest: naming the field, also for a part of a known type that is not as it must be.
    """
    kind = read_json(_decode_kind, raw, where)
    if kind.type == "text":
        if kind.text is None:
            raise BadRequest(f"{where}.text is missing.", param=f"{where}.text")
        return Part("text", kind.text)
    read = _READERS.get(kind.type)
    return Part(kind.type, raw=raw) if read is None else read(where, raw, body)


def _image(where: str, raw: Raw, _body: LongBody | None) -> Part:
    image = read_json(_decode_image, raw, where).image_url
    if isinstance(image, str):
        return Part("image", media=Media(url=image))
    return Part("image", media=Media(url=image.url, detail=image.detail or ""))


def _audio(where: str, raw: Raw, _body: LongBody | None) -> Part:
    audio = read_json(_decode_audio, raw, where).input_audio
    return Part("audio", media=Media(data=audio.data, type=audio.format))


def _file(where: str, raw: Raw, body: LongBody | None) -> Part:
    file = read_json(_decode_file, raw, where).file
    name = file.filename or ""
    if file.file_data is None:
        if file.file_id is None:
            raise BadRequest(f"{where}.file needs file_data or file_id.", param=f"{where}.file")
        return Part("file", media=Media(file_id=file.file_id, name=name))
    begun = file.file_data if body is None else body.sample(file.file_data)[0]
    if begun[:5].lower() == "data:":
        return Part("file", media=Media(url=file.file_data, name=name))
    return Part("file", media=Media(data=file.file_data, name=name))


def _refusal(where: str, raw: Raw, _body: LongBody | None) -> Part:
    return Part("refusal", read_json(_decode_refusal, raw, where).refusal)


_READERS: dict[str, Callable[[str, Raw, LongBody | None], Part]] = {
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal,
}


def said_part(part: Part, where: str, body: bytes | LongBody) -> dict[str, Any]:
    """A part of a kind that every shape knows, in this one's words.

    Raises:
        BadRequest: this shape has no word for it.
    """
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "refusal":
        return {"type": "refusal", "refusal": part.text}
    say = _WRITERS.get(part.kind)
    if say is None or part.media is None:
        raise unsupported(where, f"A chat completion has no word for a part of type {part.kind}.")
    return say(part.media, where, body)


def _said_image(media: Media, where: str, body: bytes | LongBody) -> dict[str, Any]:
    url = address(media, body)
    if not url:
        raise unsupported(where, "A chat completion takes an image by its address or its bytes, not by a file's id.")
    return {"type": "image_url", "image_url": {"url": url, **({"detail": media.detail} if media.detail else {})}}


def _said_audio(media: Media, where: str, body: bytes | LongBody) -> dict[str, Any]:
    sound = inline(media, body)
    if sound is None or not sound.type:
        raise unsupported(where, "A chat completion takes a sound only by its bytes, with their format.")
    name = sound.type.lower().removeprefix("audio/")
    return {"type": "input_audio", "input_audio": {"data": sound.data, "format": _FORMATS.get(name, name)}}


_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
"""Media types of sounds that OpenAI calls otherwise."""


def _said_file(media: Media, where: str, body: bytes | LongBody) -> dict[str, Any]:
    if media.file_id:
        return {"type": "file", "file": {"file_id": media.file_id}}
    found = inline(media, body)
    if found is None:
        raise unsupported(where, "A chat completion takes a file by its bytes or its id, not by its address.")
    # OpenAI takes no bytes without a name.
    name = media.name or f"file.{found.type.rpartition('/')[2] or 'bin'}"
    return {"type": "file", "file": {"filename": name, "file_data": address(media, body)}}


_WRITERS: dict[str, Callable[[Media, str, bytes | LongBody], dict[str, Any]]] = {
    "image": _said_image,
    "audio": _said_audio,
    "file": _said_file,
}
