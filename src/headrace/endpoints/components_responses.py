"""OpenAI's Responses as JSON Schema: the part of `components` that only its routes need."""

from __future__ import annotations

from typing import Final

from headrace.endpoints.json_schema import (
    BOOLEAN,
    COUNT,
    LIMIT,
    MODEL_NAME,
    OBJECT,
    STRING,
    TEXTS,
    Schema,
    any_other,
    list_of,
    number,
    object_of,
    optional,
    or_null,
    ref,
)

RESPONSE_ID: Final[Schema] = {"type": "string", "pattern": "^resp_[0-9a-f]{32}$"}
_NAMED: Final[Schema] = {"type": "string", "minLength": 1}
_TEXTS: Final = ("input_text", "output_text", "text")
_PARTS: Final = (*_TEXTS, "refusal", "input_image", "input_file", "input_audio")
_PART: Final[Schema] = {
    "description": "A piece of a message; of another type, it is what the model server takes, as it is.",
    "anyOf": [
        object_of({"type": {"enum": list(_TEXTS)}, "text": STRING}, "type", "text"),
        object_of({"type": {"const": "refusal"}, "refusal": STRING}, "type", "refusal"),
        object_of(
            {"type": {"const": "input_image"}, "image_url": _NAMED} | optional({"file_id": STRING, "detail": STRING}),
            *("type", "image_url"),
        ),
        object_of(
            {"type": {"const": "input_file"}, "file_data": _NAMED}
            | optional({"file_url": STRING, "file_id": STRING, "filename": STRING}),
            *("type", "file_data"),
        ),
        object_of(
            {"type": {"const": "input_audio"}, "input_audio": object_of({"data": STRING, "format": STRING}, "data")},
            *("type", "input_audio"),
        ),
        object_of({"type": any_other(*_PARTS)}, "type"),
    ],
}
_CONTENT: Final[Schema] = {"anyOf": [STRING, list_of(ref("ResponsePart"))]}
_THOUGHTS: Final[Schema] = or_null(list_of(object_of({"text": STRING})))
_ITEMS: Final = ("message", "function_call", "function_call_output", "reasoning")
_ITEM: Final[Schema] = {
    "description": "A turn of the conversation; of another type, it is what the model server takes, as it is.",
    "anyOf": [
        object_of(
            {
                "type": {"enum": ["message", None]},
                "role": {"enum": ["system", "developer", "user", "assistant"]},
                "content": _CONTENT,
            },
            *("role", "content"),
        ),
        object_of(
            {"type": {"const": "function_call"}, "call_id": STRING, "name": STRING, "arguments": STRING},
            *("type", "call_id", "name", "arguments"),
        ),
        object_of(
            {"type": {"const": "function_call_output"}, "call_id": STRING, "output": _CONTENT},
            *("type", "call_id", "output"),
        ),
        object_of(
            {"type": {"const": "reasoning"}, "summary": _THOUGHTS, "content": _THOUGHTS}
            | optional({"encrypted_content": STRING}),
            "type",
        ),
        object_of({"type": any_other(*_ITEMS)}, "type"),
    ],
}
_TOOL_FIELDS: Final[Schema] = optional({"description": STRING, "parameters": OBJECT, "strict": BOOLEAN})
_TOOL: Final[Schema] = {
    "anyOf": [
        object_of({"type": {"const": "function"}, "name": STRING} | _TOOL_FIELDS, "type", "name"),
        object_of({"type": any_other("function"), "name": or_null(STRING)} | _TOOL_FIELDS, "type"),
    ]
}
_TOOL_CHOICE: Final[Schema] = {
    "anyOf": [
        {"type": ["string", "null"]},
        object_of({"type": {"const": "function"}, "name": STRING}, "type", "name"),
        object_of({"type": any_other("function")}, "type"),
    ]
}
_REQUEST: Final[Schema] = object_of(
    {
        "model": MODEL_NAME,
        "input": {"anyOf": [STRING, list_of(ref("ResponseItem"), minItems=1)]},
        "tool_choice": _TOOL_CHOICE,
        "conversation": {"type": "null", "description": "Not offered; `previous_response_id` continues an answer."},
        **optional(
            {
                "instructions": STRING,
                "stream": BOOLEAN,
                "background": BOOLEAN,
                "store": BOOLEAN,
                "previous_response_id": RESPONSE_ID,
                "tools": list_of(ref("ResponseTool")),
                "parallel_tool_calls": BOOLEAN,
                "text": object_of(optional({"format": OBJECT, "verbosity": STRING})),
                "reasoning": object_of(optional({"effort": STRING})),
                "include": list_of(STRING),
                "temperature": number(minimum=0, maximum=2),
                "top_p": number(minimum=0, maximum=1),
                "max_output_tokens": LIMIT,
                "metadata": TEXTS,
                "prompt": OBJECT,
            }
        ),
    },
    *("model", "input"),
    description="OpenAI's; fields that are not here travel on to the model server.",
    **{
        "not": {
            "anyOf": [
                {"required": ["api_key"]},
                object_of({"background": {"const": True}, "store": {"const": False}}, "background", "store"),
            ]
        }
    },
)
_STATUSES: Final = ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")
_RESPONSE_FIELDS: Final[Schema] = {
    "id": RESPONSE_ID,
    "object": {"const": "response"},
    "created_at": COUNT,
    "status": {"enum": list(_STATUSES)},
    "model": STRING,
    "output": list_of(OBJECT),
    "error": or_null(OBJECT),
    "incomplete_details": or_null(OBJECT),
    "usage": or_null(OBJECT),
    "previous_response_id": or_null(STRING),
}
_ITEM_LIST_FIELDS: Final[Schema] = {
    "object": {"const": "list"},
    "data": list_of(object_of({"id": STRING, "type": STRING}, "id", "type")),
    "first_id": or_null(STRING),
    "last_id": or_null(STRING),
    "has_more": BOOLEAN,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "ResponsePart": _PART,
    "ResponseItem": _ITEM,
    "ResponseTool": _TOOL,
    "ResponseRequest": _REQUEST,
    "Response": object_of(_RESPONSE_FIELDS, *_RESPONSE_FIELDS),
    "ResponseDeleted": object_of(
        {"id": RESPONSE_ID, "object": {"const": "response"}, "deleted": {"const": True}}, "id", "object", "deleted"
    ),
    "ResponseItemList": object_of(_ITEM_LIST_FIELDS, *_ITEM_LIST_FIELDS),
}
