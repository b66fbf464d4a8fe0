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
