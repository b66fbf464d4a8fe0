"""Parts of messages as JSON Schema, in chat completions and in Headrace's own shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.endpoints.json_schema import STRING, Schema, any_other, object_of, optional, or_null

_WORDS: Final[Schema] = {"type": "string", "minLength": 1}

_CHAT_IMAGE: Final[Schema] = {"anyOf": [_WORDS, object_of({"url": _WORDS, "detail": or_null(STRING)}, "url")]}
_CHAT_FILE: Final[Schema] = object_of(
    optional({"file_data": _WORDS, "file_id": _WORDS, "filename": STRING}),
    anyOf=[object_of({"file_data": STRING}, "file_data"), object_of({"file_id": STRING}, "file_id")],
)
_CHAT_PARTS: Final[Schema] = {
    "text": {"text": STRING},
    "refusal": {"refusal": STRING},
    "image_url": {"image_url": _CHAT_IMAGE},
    "input_audio": {"input_audio": object_of({"data": _WORDS, "format": _WORDS}, "data", "format")},
    "file": {"file": _CHAT_FILE},
}
CHAT_PART: Final[Schema] = {
    "description": "A piece of a message: OpenAI's, or what the model server takes besides, as it is.",
    "anyOf": [
        *(
            object_of({"type": {"const": kind}, "text": or_null(STRING)} | fields, "type", *fields)
            for kind, fields in _CHAT_PARTS.items()
        ),
        object_of({"type": any_other(*_CHAT_PARTS), "text": or_null(STRING)}, "type"),
    ],
}

_MEDIA: Final = ({"url": _WORDS}, {"data": _WORDS, "media_type": _WORDS}, {"file_id": _WORDS})
"""Where the bytes are; the media type may be said in any case."""
_NATIVE_PARTS: Final[Sequence[tuple[str, Schema, Schema]]] = (
    ("text", {"text": STRING}, {}),
    ("refusal", {"text": STRING}, {}),
    ("reasoning", {"text": STRING}, {"signature": STRING}),
    ("redacted", {"signature": _WORDS}, {}),
    *(("image", where, {"media_type": _WORDS, "detail": STRING}) for where in _MEDIA),
    ("audio", {"data": _WORDS, "format": _WORDS}, {}),
    *(("file", where, {"media_type": _WORDS, "name": STRING}) for where in _MEDIA),
)
NATIVE_PART: Final[Schema] = {
    "description": "A piece of a message; one of another type is in the form of the model's own server.",
    "anyOf": [
        *(
            object_of({"type": {"const": kind}} | optional_fields | fields, "type", *fields, additionalProperties=False)
            for kind, fields, optional_fields in _NATIVE_PARTS
        ),
        object_of({"type": any_other(*sorted({kind for kind, _, _ in _NATIVE_PARTS}))}, "type"),
    ],
}
