"""The response object: what every answer, and the frames at both ends of a stream, say of the whole."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from headrace.dialects.openai_responses.wire import PREFIX
from headrace.events import Cancelled, Failed, Finished, StreamStart, Terminal, Usage

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons of ours that this shape does not call completed."""
_FROM_ECHO = ("previous_response_id", "background", "store")
"""What the caller said to this server, and the model server may not have been told."""


def outline(start: StreamStart) -> dict[str, Any]:
    """Every field that official clients require, with what the request said; nothing has happened yet."""
    fields: dict[str, Any] = {
        "id": PREFIX + start.id,
        "object": "response",
        "created_at": start.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": start.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": start.meta,
    }
    echo = echo_of(start)
    for name in ("reasoning", "text"):  # a part of it may be all that was said
        if name in echo:
            echo[name] = {**fields[name], **_fields_of(echo[name])}
    return fields | echo


def echo_of(start: StreamStart) -> dict[str, Any]:
    """What record 0 has of the request."""
    return {} if start.echo is None else dict[str, Any](_fields_of(start.echo))


def ours(start: StreamStart, response: Raw) -> dict[str, Any]:
    """A model server's response object under our id, time and name, as this server was asked."""
    own = outline(start)
    fields = _fields_of(response)
    return {**fields, **{name: own[name] for name in ("id", "created_at", "model", *_FROM_ECHO)}}


def ended(fields: dict[str, Any], terminal: Terminal | None) -> dict[str, Any]:
    """How it ended, in the fields that say so; nothing of one that runs."""
    match terminal:
        case Finished() if terminal.reason in _INCOMPLETE:
            return fields | {"status": "incomplete", "incomplete_details": {"reason": _INCOMPLETE[terminal.reason]}}
        case Finished():
            return fields | {"status": "completed"}
        case Cancelled():
            return fields | {"status": "cancelled", "incomplete_details": {"reason": "cancelled"}}
        case Failed():
            return fields | {"status": "failed", "error": {"code": terminal.code, "message": terminal.message}}
        case None:
            return fields


def usage_block(usage: Usage | None) -> dict[str, Any] | None:
    """Token counts in this shape; a count that the upstream did not give says so in `source` (P27)."""
    if usage is None:
        return None
    block: dict[str, Any] = {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
    if usage.source != "provider":
        block["source"] = usage.source
    return block
