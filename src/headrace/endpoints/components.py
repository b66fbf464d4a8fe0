"""The values of the API as JSON Schema: what the OpenAPI document keeps under `#/components/schemas`."""

from __future__ import annotations

from typing import Final

from headrace.endpoints import components_messages, components_responses
from headrace.endpoints.components_parts import CHAT_PART, NATIVE_PART
from headrace.endpoints.json_schema import (
    BOOLEAN,
    COUNT,
    INTEGER,
    LIMIT,
    MODEL_NAME,
    OBJECT,
    STATE,
    STREAM_ID,
    STRING,
    TEXTS,
    TOKEN,
    Schema,
    list_of,
    number,
    object_of,
    optional,
    or_null,
    ref,
)
from headrace.policy.read_token import LONGEST_TTL

_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_MAY_BE_SILENT: Final = ("assistant", "function")

_CONTENT: Final[Schema] = {"description": "Text, or a list of parts.", "anyOf": [STRING, list_of(ref("Part"))]}
_FUNCTION: Final[Schema] = object_of(
    {"name": STRING} | optional({"description": STRING, "parameters": OBJECT, "strict": BOOLEAN}), "name"
)
_CHAT_CALL: Final[Schema] = object_of(
    {"id": STRING, "function": or_null(object_of({"name": STRING, "arguments": STRING}, "name"))}
)
_CHAT_TOOL: Final[Schema] = {
    "anyOf": [
        object_of({"type": {"const": "function"}, "function": _FUNCTION}, "type", "function"),
        object_of({"type": {"type": "string", "not": {"const": "function"}}, "function": or_null(_FUNCTION)}, "type"),
    ]
}
_VENDORS: Final[Schema] = {"description": "As the model's own server takes it."}
_CHAT_MESSAGE_FIELDS: Final[Schema] = {
    **optional({"name": STRING, "tool_calls": list_of(_CHAT_CALL), "tool_call_id": STRING, "refusal": STRING}),
    **dict.fromkeys(("reasoning_content", "reasoning", "audio", "function_call"), _VENDORS),
}
_CHAT_MESSAGE: Final[Schema] = {
    "anyOf": [
        object_of(
            {"role": {"enum": [role for role in _ROLES if role not in _MAY_BE_SILENT]}, "content": _CONTENT}
            | _CHAT_MESSAGE_FIELDS,
            *("role", "content"),
        ),
        object_of(
            {"role": {"enum": list(_MAY_BE_SILENT)}, "content": or_null(_CONTENT)} | _CHAT_MESSAGE_FIELDS, "role"
        ),
    ]
}
_STOPS: Final[Schema] = list_of(STRING)
_SETTINGS: Final[Schema] = optional(
    {
        "temperature": number(minimum=0),
        "top_p": number(minimum=0, maximum=1),
        "reasoning_effort": STRING,
        "max_tokens": LIMIT,
        "seed": INTEGER,
        "n": LIMIT,
        "presence_penalty": number(),
        "frequency_penalty": number(),
        "tool_choice": {"type": ["string", "object", "null"]},
        "parallel_tool_calls": BOOLEAN,
        "response_format": OBJECT,
    }
)
_PENALTY: Final[Schema] = or_null(number(minimum=-2, maximum=2))
_CHAT_REQUEST: Final[Schema] = object_of(
    {
        "model": MODEL_NAME,
        "messages": list_of(ref("ChatMessage"), minItems=1),
        **_SETTINGS,
        "temperature": or_null(number(minimum=0, maximum=2)),
        "presence_penalty": _PENALTY,
        "frequency_penalty": _PENALTY,
        **optional(
            {
                "stream": BOOLEAN,
                "stream_options": object_of({"include_usage": or_null(BOOLEAN)}),
                "tools": list_of(ref("ChatTool")),
                "metadata": TEXTS,
                "max_completion_tokens": LIMIT,
                "top_k": INTEGER,
                "stop": {"anyOf": [STRING, _STOPS]},
            }
        ),
    },
    *("model", "messages"),
    description="OpenAI's; fields that are not here travel on to the model server.",
    # A key would be stored with the request, and not used.
    **{"not": {"required": ["api_key"]}},
)
_NATIVE_CALL: Final[Schema] = object_of({"id": STRING, "name": STRING, "arguments": STRING}, "id", "name", "arguments")
_NATIVE_MESSAGE: Final[Schema] = object_of(
    {
        "role": {"enum": list(_ROLES)},
        "content": {"description": "Text, or a list of parts.", "anyOf": [STRING, list_of(ref("NativePart"))]},
        "name": or_null(STRING),
        "tool_calls": list_of(_NATIVE_CALL),
        "call_id": or_null(STRING),
        "is_error": {"type": "boolean", "description": "Of a tool's result: whether the tool failed."},
    },
    "role",
    additionalProperties=False,
)
_NATIVE_TOOL: Final[Schema] = object_of(
    {"name": STRING, "parameters": OBJECT} | optional({"description": STRING, "strict": BOOLEAN}), "name"
)
_NATIVE_REQUEST: Final[Schema] = object_of(
    {
        "model": MODEL_NAME,
        "messages": list_of(ref("NativeMessage"), minItems=1),
        "settings": or_null(
            object_of(
                {**_SETTINGS, "stop": _STOPS, **optional({"top_k": {"type": "integer", "minimum": 0}})},
                additionalProperties=False,
            )
        ),
        "tools": list_of(ref("NativeTool")),
        "metadata": TEXTS,
        "stream": or_null(BOOLEAN),
    },
    *("model", "messages"),
    additionalProperties=False,
)
_ERROR: Final[Schema] = object_of(
    {
        "error": object_of(
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
_CHAT_COMPLETION: Final[Schema] = object_of(
    {
        "id": {"type": "string", "pattern": "^chatcmpl-[0-9a-f]{32}$"},
        "object": {"const": "chat.completion"},
        "created": INTEGER,
        "model": STRING,
        "choices": list_of(
            object_of({"index": COUNT, "message": OBJECT, "finish_reason": or_null(STRING)}, "index", "message")
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
    "created_ms": COUNT,
    "ended_ms": or_null(COUNT),
    "position": COUNT,
    "bytes": COUNT,
    "readers": COUNT,
    "metadata": TEXTS,
}
_STREAM_FIELDS: Final[Schema] = _ROW_FIELDS | {
    "created": COUNT,
    "text": {"type": "string", "description": "The first choice's so far."},
    "choices": list_of(OBJECT),
    "usage": or_null(OBJECT),
    "cost_usd": or_null(number(minimum=0)),
    "finish_reason": STRING,
    "error": OBJECT,
    "cancelled_by": STRING,
}
_MODEL_FIELDS: Final[Schema] = {
    "id": STRING,
    "object": {"const": "model"},
    "created": COUNT,
    "owned_by": STRING,
    "type": {"const": "model"},
    "display_name": STRING,
    "created_at": {"type": "string", "format": "date-time"},
    "lifecycle": {"const": "active"},
}
_MODEL_LIST_FIELDS: Final[Schema] = {
    "object": {"const": "list"},
    "data": list_of(ref("Model")),
    "first_id": or_null(STRING),
    "last_id": or_null(STRING),
    "has_more": {"const": False},
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": _ERROR,
    "Part": CHAT_PART,
    "ChatMessage": _CHAT_MESSAGE,
    "ChatTool": _CHAT_TOOL,
    "ChatRequest": _CHAT_REQUEST,
    "ChatCompletion": _CHAT_COMPLETION,
    "NativePart": NATIVE_PART,
    "NativeMessage": _NATIVE_MESSAGE,
    "NativeTool": _NATIVE_TOOL,
    "NativeRequest": _NATIVE_REQUEST,
    "StreamRow": object_of(_ROW_FIELDS, *_ROW_FIELDS),
    "Stream": object_of(_STREAM_FIELDS, *_ROW_FIELDS, "created", "text", "choices", "usage", "cost_usd"),
    "StreamList": object_of(
        {"data": list_of(ref("StreamRow")), "has_more": BOOLEAN, "next": or_null(STREAM_ID)},
        *("data", "has_more", "next"),
    ),
    "StreamCreated": object_of(
        {"id": STREAM_ID, "state": STATE, "model": STRING, "location": STRING}, "id", "state", "model", "location"
    ),
    "StillRunning": object_of({"id": STRING, "state": {"const": "running"}}, "id", "state"),
    "CancelByKey": object_of(
        {
            "idempotency_key": TOKEN,
            "route": {
                "enum": ["/v1/streams", "/v1/chat/completions", "/v1/messages", "/v1/responses", "/stream", None]
            },
        },
        "idempotency_key",
        additionalProperties=False,
    ),
    "ReadTokenRequest": object_of(
        {"mode": {"const": "read"}, "ttl_s": {"type": "integer", "minimum": 1, "maximum": LONGEST_TTL}},
        additionalProperties=False,
    ),
    "ReadToken": object_of(
        {"token": STRING, "mode": {"const": "read"}, "expires_at": INTEGER, "url": STRING},
        *("token", "mode", "expires_at", "url"),
    ),
    "Model": object_of(_MODEL_FIELDS, *_MODEL_FIELDS, description="What OpenAI and what Anthropic say of a model."),
    "ModelList": object_of(_MODEL_LIST_FIELDS, *_MODEL_LIST_FIELDS),
    "Health": object_of({"status": STRING}, "status"),
    **components_messages.SCHEMAS,
    **components_responses.SCHEMAS,
}
