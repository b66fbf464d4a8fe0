"""Anthropic's Messages as JSON Schema: the part of `components` that only its routes need."""

from __future__ import annotations

from typing import Final

from headrace.endpoints.json_schema import (
    BOOLEAN,
    COUNT,
    INTEGER,
    LIMIT,
    MODEL_NAME,
    OBJECT,
    STRING,
    Schema,
    any_other,
    list_of,
    number,
    object_of,
    optional,
    or_null,
    ref,
)

_NAMED: Final[Schema] = {"type": "string", "minLength": 1}
_SOURCE: Final[Schema] = {
    "anyOf": [
        object_of({"type": {"const": "base64"}, "media_type": STRING, "data": _NAMED}, *("type", "data")),
        object_of({"type": {"const": "url"}, "url": _NAMED}, "type", "url"),
        object_of({"type": {"const": "file"}, "file_id": _NAMED}, "type", "file_id"),
        object_of({"type": any_other("base64", "url", "file")}, "type"),
    ]
}
_BLOCKS: Final = ("text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result")
_TEXT: Final[Schema] = object_of({"type": {"const": "text"}, "text": STRING}, "type", "text")
_IMAGE: Final[Schema] = object_of({"type": {"const": "image"}, "source": _SOURCE}, "type", "source")
_DOCUMENT: Final[Schema] = object_of(
    {"type": {"const": "document"}, "source": _SOURCE} | optional({"title": STRING, "context": STRING}),
    *("type", "source"),
)
_THINKING: Final[Schema] = object_of(
    {"type": {"const": "thinking"}, "thinking": STRING, "signature": STRING}, "type", "thinking"
)
_REDACTED: Final[Schema] = object_of({"type": {"const": "redacted_thinking"}, "data": STRING}, "type", "data")
_USE: Final[Schema] = object_of(
    {"type": {"const": "tool_use"}, "id": STRING, "name": STRING, "input": OBJECT}, *("type", "id", "name", "input")
)
_OTHER: Final[Schema] = object_of({"type": any_other(*_BLOCKS)}, "type")


def _content(*blocks: Schema) -> Schema:
    return {"anyOf": [STRING, list_of({"anyOf": list(blocks)})]}


_ANY: Final[Schema] = _content(
    _TEXT, object_of({"type": any_other("text", "image", "document", "thinking", "redacted_thinking")}, "type")
)
_RESULT: Final[Schema] = object_of(
    {"type": {"const": "tool_result"}, "tool_use_id": STRING, "content": or_null(_ANY), "is_error": or_null(BOOLEAN)},
    *("type", "tool_use_id"),
)
_MESSAGE: Final[Schema] = {
    "description": "A turn; a block of another type is what the model server takes, as it is.",
    "anyOf": [
        object_of(
            {"role": {"const": "user"}, "content": _content(_TEXT, _IMAGE, _DOCUMENT, _RESULT, _OTHER)},
            *("role", "content"),
        ),
        object_of(
            {
                "role": {"const": "assistant"},
                "content": _content(_TEXT, _THINKING, _REDACTED, _USE, _OTHER),
            },
            *("role", "content"),
        ),
        object_of({"role": {"const": "system"}, "content": _content(_TEXT, _OTHER)}, "role", "content"),
    ],
}
_TOOL: Final[Schema] = {
    "anyOf": [
        object_of(
            {"name": _NAMED, "type": {"enum": ["custom", None]}, "input_schema": OBJECT}
            | optional({"description": STRING, "strict": BOOLEAN}),
            *("name", "input_schema"),
        ),
        object_of(
            {"name": _NAMED, "type": any_other("custom"), "input_schema": or_null(OBJECT)}
            | optional({"description": STRING, "strict": BOOLEAN}),
            *("name", "type"),
        ),
    ]
}
_CHOICE: Final[Schema] = {
    "anyOf": [
        object_of(
            {"type": {"enum": ["auto", "any", "none"]}, "name": or_null(STRING)}
            | optional({"disable_parallel_tool_use": BOOLEAN}),
            "type",
        ),
        object_of(
            {"type": {"const": "tool"}, "name": _NAMED} | optional({"disable_parallel_tool_use": BOOLEAN}),
            *("type", "name"),
        ),
    ]
}
_FORMAT: Final[Schema] = object_of({"type": {"const": "json_schema"}, "schema": OBJECT}, "type", "schema")
_FIELDS: Final[Schema] = {
    "model": MODEL_NAME,
    "messages": list_of(ref("AnthropicTurn"), minItems=1),
    "max_tokens": LIMIT,
    **optional(
        {
            "system": _ANY,
            "stream": BOOLEAN,
            "tools": list_of(_TOOL),
            "tool_choice": _CHOICE,
            "thinking": object_of({"type": STRING, "budget_tokens": or_null(INTEGER)}, "type"),
            "output_config": object_of(optional({"effort": STRING, "format": _FORMAT})),
            "temperature": number(minimum=0, maximum=1),
            "top_p": number(minimum=0, maximum=1),
            "top_k": {"type": "integer", "minimum": 0},
            "stop_sequences": list_of(STRING),
            "metadata": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        }
    ),
}
_NO_KEY: Final[Schema] = {"not": {"required": ["api_key"]}}
_ANSWER_FIELDS: Final[Schema] = {
    "id": {"type": "string", "pattern": "^msg_[0-9a-f]{32}$"},
    "type": {"const": "message"},
    "role": {"const": "assistant"},
    "model": STRING,
    "content": list_of(object_of({"type": STRING}, "type")),
    "stop_reason": or_null(STRING),
    "stop_sequence": or_null(STRING),
    "usage": OBJECT,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "AnthropicTurn": _MESSAGE,
    "AnthropicRequest": object_of(
        _FIELDS,
        *("model", "messages", "max_tokens"),
        description="Anthropic's; fields that are not here travel on to the model server.",
        **_NO_KEY,
    ),
    "AnthropicCountRequest": object_of(
        {"model": MODEL_NAME, "messages": list_of(ref("AnthropicTurn"), minItems=1)},
        *("model", "messages"),
        description="A request for an answer, of which `max_tokens` may be left out.",
        **_NO_KEY,
    ),
    "AnthropicMessage": object_of(_ANSWER_FIELDS, *_ANSWER_FIELDS),
    "AnthropicCount": object_of({"input_tokens": COUNT, "source": {"const": "estimated"}}, "input_tokens"),
    "AnthropicError": object_of(
        {
            "type": {"const": "error"},
            "error": object_of(
                {
                    "type": STRING,
                    "message": {"type": "string", "description": "What happened and what to do about it."},
                    "code": STRING,
                    "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
                    "param": {"type": "string", "description": "The field that is wrong."},
                    "partial": {"type": "string", "description": "The text that came before the failure."},
                },
                *("type", "message", "code", "retryable"),
            ),
        },
        *("type", "error"),
    ),
}
