"""JSON Schema in few words: what the components of the OpenAPI document are made of."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
OBJECT: Final[Schema] = {"type": "object"}
TOKEN: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
STREAM_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
STATE: Final[Schema] = {"type": "string", "enum": ["running", "finished", "failed", "cancelled"]}
INTEGER: Final[Schema] = {"type": "integer"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": STRING}

MODEL_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}


def ref(name: str) -> Schema:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def any_other(*types: str) -> Schema:
    """A type name that is none of these."""
    return {"type": "string", "not": {"enum": list(types)}}


def list_of(items: Schema, **more: Any) -> Schema:
    """Any number of these."""
    return {"type": "array", "items": items, **more}


def number(**limits: float) -> Schema:
    """A number, within limits."""
    return {"type": "number", **limits}


def or_null(schema: Schema) -> Schema:
    """The same, or null; most clients write null for what they leave out."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def object_of(properties: Schema, *required: str, **more: Any) -> Schema:
    """An object that may have other properties too."""
    return {"type": "object", "properties": properties, "required": list(required), **more}


def optional(properties: Schema) -> Schema:
    """The same properties, each of which may be null."""
    return {name: or_null(schema) for name, schema in properties.items()}
