"""The values of the API as JSON Schema: what the OpenAPI document keeps under `#/components/schemas`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
OBJECT: Final[Schema] = {"type": "object"}
TOKEN: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
STREAM_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
STATE: Final[Schema] = {"type": "string", "enum": ["running", "finished", "failed", "cancelled"]}
_INTEGER: Final[Schema] = {"type": "integer"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": STRING}
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_MAY_BE_SILENT: Final = ("assistant", "function")


def ref(name: str) -> Schema:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _number(**limits: float) -> Schema:
    return {"type": "number", **limits}


def _or_null(schema: Schema) -> Schema:
    """The same, or null; most clients write null for what they leave out."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Schema, *required: str, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), **more}


def _optional(properties: Schema) -> Schema:
    return {name: _or_null(schema) for name, schema in properties.items()}


_WORDS: Final[Schema] = {"type": "string", "minLength": 1}
_CHAT_IMAGE: Final[Schema] = {
    "anyOf": [_WORDS, _object({"url": _WORDS, "detail": {"type": ["string", "null"]}}, "url")]
}
_CHAT_FILE: Final[Schema] = _object(
    _optional({"file_data": _WORDS, "file_id": _WORDS, "filename": STRING}),
    anyOf=[_object({"file_data": STRING}, "file_data"), _object({"file_id": STRING}, "file_id")],
)
_CHAT_PARTS: Final[Schema] = {
    "text": {"text": STRING},
    "refusal": {"refusal": STRING},
    "image_url": {"image_url": _CHAT_IMAGE},
    "input_audio": {"input_audio": _object({"data": _WORDS, "format": _WORDS}, "data", "format")},
    "file": {"file": _CHAT_FILE},
}
_PART: Final[Schema] = {
    "description": "A piece of a message: OpenAI's, or what the model server takes besides, as it is.",
    "anyOf": [
        *(
            _object({"type": {"const": kind}, **fields, "text": fields.get("text", _or_null(STRING))}, "type", *fields)
            for kind, fields in _CHAT_PARTS.items()
        ),
        _object({"type": {"type": "string", "not": {"enum": list(_CHAT_PARTS)}}, "text": _or_null(STRING)}, "type"),
    ],
}
_CONTENT: Final[Schema] = {"description": "Text, or a list of parts.", "anyOf": [STRING, _list(ref("Part"))]}
_FUNCTION: Final[Schema] = _object(
    {"name": STRING} | _optional({"description": STRING, "parameters": OBJECT, "strict": BOOLEAN}), "name"
)
_CHAT_CALL: Final[Schema] = _object(
    {"id": STRING, "function": _or_null(_object({"name": STRING, "arguments": STRING}, "name"))}
)
_CHAT_TOOL: Final[Schema] = {
    "anyOf": [
        _object({"type": {"const": "function"}, "function": _FUNCTION}, "type", "function"),
        _object({"type": {"type": "string", "not": {"const": "function"}}, "function": _or_null(_FUNCTION)}, "type"),
    ]
}
_VENDORS: Final[Schema] = {"description": "As the model's own server takes it."}
_CHAT_MESSAGE_FIELDS: Final[Schema] = {
    **_optional({"name": STRING, "tool_calls": _list(_CHAT_CALL), "tool_call_id": STRING, "refusal": STRING}),
    **dict.fromkeys(("reasoning_content", "reasoning", "audio", "function_call"), _VENDORS),
}
_CHAT_MESSAGE: Final[Schema] = {
    "anyOf": [
        _object(
            {"role": {"enum": [role for role in _ROLES if role not in _MAY_BE_SILENT]}, "content": _CONTENT}
            | _CHAT_MESSAGE_FIELDS,
            *("role", "content"),
        ),
        _object({"role": {"enum": list(_MAY_BE_SILENT)}, "content": _or_null(_CONTENT)} | _CHAT_MESSAGE_FIELDS, "role"),
    ]
}
_STOPS: Final[Schema] = _list(STRING)
_SETTINGS: Final[Schema] = _optional(
    {
        "temperature": _number(minimum=0),
        "top_p": _number(minimum=0, maximum=1),
        "reasoning_effort": STRING,
        "max_tokens": _LIMIT,
        "seed": _INTEGER,
        "n": _LIMIT,
        "presence_penalty": _number(),
        "frequency_penalty": _number(),
        "tool_choice": {"type": ["string", "object", "null"]},
        "parallel_tool_calls": BOOLEAN,
        "response_format": OBJECT,
    }
)
_PENALTY: Final[Schema] = _or_null(_number(minimum=-2, maximum=2))
_CHAT_REQUEST: Final[Schema] = _object(
    {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "messages": _list(ref("ChatMessage"), minItems=1),
        **_SETTINGS,
        "temperature": _or_null(_number(minimum=0, maximum=2)),
        "presence_penalty": _PENALTY,
        "frequency_penalty": _PENALTY,
        **_optional(
            {
                "stream": BOOLEAN,
                "stream_options": _object({"include_usage": _or_null(BOOLEAN)}),
                "tools": _list(ref("ChatTool")),
                "metadata": _TEXTS,
                "max_completion_tokens": _LIMIT,
                "top_k": _INTEGER,
                "stop": {"anyOf": [STRING, _STOPS]},
            }
        ),
    },
    *("model", "messages"),
    description="OpenAI's; fields that are not here travel on to the model server.",
    # A key would be stored with the request, and not used.
    **{"not": {"required": ["api_key"]}},
)
_NATIVE_CALL: Final[Schema] = _object({"id": STRING, "name": STRING, "arguments": STRING}, "id", "name", "arguments")
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
_NATIVE_PART: Final[Schema] = {
    "description": "A piece of a message; one of another type is in the form of the model's own server.",
    "anyOf": [
        *(
            _object({"type": {"const": kind}} | optional | fields, "type", *fields, additionalProperties=False)
            for kind, fields, optional in _NATIVE_PARTS
        ),
        _object({"type": {"type": "string", "not": {"enum": sorted({kind for kind, _, _ in _NATIVE_PARTS})}}}, "type"),
    ],
}
_NATIVE_MESSAGE: Final[Schema] = _object(
    {
        "role": {"enum": list(_ROLES)},
        "content": {"description": "Text, or a list of parts.", "anyOf": [STRING, _list(ref("NativePart"))]},
        "name": _or_null(STRING),
        "tool_calls": _list(_NATIVE_CALL),
        "call_id": _or_null(STRING),
        "is_error": {"type": "boolean", "description": "Of a tool's result: whether the tool failed."},
    },
    "role",
    additionalProperties=False,
)
_NATIVE_TOOL: Final[Schema] = _object(
    {"name": STRING, "parameters": OBJECT} | _optional({"description": STRING, "strict": BOOLEAN}), "name"
)
_NATIVE_REQUEST: Final[Schema] = _object(
    {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "messages": _list(ref("NativeMessage"), minItems=1),
        "settings": _or_null(
            _object(
                {**_SETTINGS, "stop": _STOPS, **_optional({"top_k": {"type": "integer", "minimum": 0}})},
                additionalProperties=False,
            )
        ),
        "tools": _list(ref("NativeTool")),
        "metadata": _TEXTS,
        "stream": _or_null(BOOLEAN),
    },
    *("model", "messages"),
    additionalProperties=False,
)
_ERROR: Final[Schema] = _object(
    {
        "error": _object(
            {
                "code": STRING,
                "message": {"type": "string", "description": "What happened and what to do about it."},
                "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
                "param": {"type": ["string", "null"], "description": "The field that is wrong."},
                "type": {"type": "string", "description": "In OpenAI's shape only."},
                "partial": {"type": "string", "description": "The text that came before the failure."},
            },
            *("code", "message", "retryable"),
        )
    },
    "error",
)
_CHAT_COMPLETION: Final[Schema] = _object(
    {
        "id": {"type": "string", "pattern": "^chatcmpl-[0-9a-f]{32}$"},
        "object": {"const": "chat.completion"},
        "created": _INTEGER,
        "model": STRING,
        "choices": _list(
            _object({"index": _COUNT, "message": OBJECT, "finish_reason": _or_null(STRING)}, "index", "message")
        ),
        "usage": OBJECT,
    },
    *("id", "object", "created", "model", "choices"),
)
_ROW_FIELDS: Final[Schema] = {
    "id": STREAM_ID,
    "state": STATE,
    "model": STRING,
    "dialect": STRING,
    "created_ms": _COUNT,
    "ended_ms": _or_null(_COUNT),
    "position": _COUNT,
    "bytes": _COUNT,
    "readers": _COUNT,
    "metadata": _TEXTS,
}
_STREAM_FIELDS: Final[Schema] = _ROW_FIELDS | {
    "created": _COUNT,
    "text": {"type": "string", "description": "The first choice's so far."},
    "choices": _list(OBJECT),
    "usage": _or_null(OBJECT),
    "finish_reason": STRING,
    "error": OBJECT,
    "cancelled_by": STRING,
}
_MODEL: Final[Schema] = _object(
    {"id": STRING, "object": {"const": "model"}, "created": _COUNT, "owned_by": STRING},
    *("id", "object", "created", "owned_by"),
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": _ERROR,
    "Part": _PART,
    "ChatMessage": _CHAT_MESSAGE,
    "ChatTool": _CHAT_TOOL,
    "ChatRequest": _CHAT_REQUEST,
    "ChatCompletion": _CHAT_COMPLETION,
    "NativePart": _NATIVE_PART,
    "NativeMessage": _NATIVE_MESSAGE,
    "NativeTool": _NATIVE_TOOL,
    "NativeRequest": _NATIVE_REQUEST,
    "StreamRow": _object(_ROW_FIELDS, *_ROW_FIELDS),
    "Stream": _object(_STREAM_FIELDS, *_ROW_FIELDS, "created", "text", "choices", "usage"),
    "StreamList": _object(
        {"data": _list(ref("StreamRow")), "has_more": BOOLEAN, "next": _or_null(STREAM_ID)},
        *("data", "has_more", "next"),
    ),
    "StreamCreated": _object(
        {"id": STREAM_ID, "state": STATE, "model": STRING, "location": STRING}, "id", "state", "model", "location"
    ),
    "StillRunning": _object({"id": STRING, "state": {"const": "running"}}, "id", "state"),
    "CancelByKey": _object(
        {
            "idempotency_key": TOKEN,
            "route": {"enum": ["/v1/streams", "/v1/chat/completions", "/stream", None]},
        },
        "idempotency_key",
        additionalProperties=False,
    ),
    "Model": _MODEL,
    "ModelList": _object({"object": {"const": "list"}, "data": _list(ref("Model"))}, "object", "data"),
    "Health": _object({"status": STRING}, "status"),
}
