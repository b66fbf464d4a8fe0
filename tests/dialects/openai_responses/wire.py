"""What tests of this shape share: fixtures as frames, through a decoder, a log and a view."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.codecs.sse import SSEDecoder
from headrace.dialects.openai_responses import ResponsesDecoder
from headrace.events import Chunk, Event, Finished, StreamStart, Terminal
from tests.dialects.rendering import START, frames, records_of

Frame = dict[str, Any]
FIXTURES = Path(__file__).parents[2] / "fixtures" / "responses"
WHOLE = ("text", "refusal", "parallel_calls", "reasoning", "web_search", "structured", "incomplete")
"""Streams that end well; the others are failed, error_event and truncated."""


IMAGE = "data:image/png;base64,AAAA"
FULL: dict[str, Any] = {
    "model": "demo",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "House rules."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"},
                {"type": "input_file", "filename": "b.pdf", "file_data": "CCCC"},
                {"type": "input_file", "file_url": "https://example.com/c.pdf"},
                {"type": "input_audio", "input_audio": {"data": "DDDD", "format": "wav"}},
                {"type": "input_new", "x": 1},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "sig+/="},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "short"}],
            "content": [{"type": "reasoning_text", "text": "long"}, {"type": "reasoning_text", "text": "er"}],
            "encrypted_content": "sig2",
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "Let me see.", "annotations": []},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "call_b", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "call_a", "output": "42"},
        {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "43"}]},
        {"type": "item_reference", "id": "msg_9"},
    ],
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "store": True,
    "background": True,
    "previous_response_id": "resp_before",
    "tools": [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"type": "web_search", "search_context_size": "low"},
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "p", "schema": {"type": "object"}, "strict": True}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "temperature": 0,
    "top_p": 1,
    "max_output_tokens": 5,
    "metadata": {"k": "v"},
    "truncation": "disabled",
    "user": "ann",
    "x_vendor": {"deep": [1, 2.50, None]},
}
"""A request with every field that is read."""


def fixture(name: str) -> list[bytes]:
    return [event.data for event in SSEDecoder().feed((FIXTURES / f"{name}.sse").read_bytes())]


def decoded(data: Iterable[bytes]) -> list[Chunk]:
    decoder = ResponsesDecoder("server", "model")
    chunks = [decoder.feed(frame) for frame in data]
    return [chunk for chunk in chunks if chunk is not None]


def encoded(*sent: Frame) -> list[bytes]:
    return [msgspec.json.encode(frame) for frame in sent]


def shown(chunks: Sequence[Chunk], terminal: Terminal | None = None, start: StreamStart = START) -> list[Frame]:
    """What a reader of this shape gets of a log."""
    return [json.loads(frame) for frame in frames(records_of(chunks, start, terminal), "openai.responses", "")]


def events_of(chunks: Iterable[Chunk]) -> list[Event]:
    return [event for chunk in chunks for event in chunk.events]


def ended(chunks: Sequence[Chunk]) -> Finished:
    """The terminal that a relay would write."""
    return Finished(getattr(chunks[-1].events[-1], "finish", "stop"))
