"""The few lines that a transport adds around a view, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.dialects import DIALECTS
from headrace.dialects.base import View
from headrace.dialects.openai_chat import ChatDecoder
from headrace.events import Chunk, Finished, Record, StreamStart, Terminal

VIEWS = [
    *(("native", ""), ("openai.chat", ""), ("openai.chat", "u")),
    *(("openai.responses", ""), ("anthropic.messages", ""), ("text", "")),
]
START = StreamStart(id="0" * 32, owner="someone", created=1_700_000_000, model="demo", dialect="openai.chat")


def frames(records: Iterable[Record], dialect: str = "openai.chat", params: str = "u") -> list[bytes]:
    """An uninterrupted read."""
    view = DIALECTS[dialect].view(params)
    return [view.encode(frame) for record in records for frame in view.fold(record)]


def folded(view: View, records: Sequence[Record]) -> list[Any]:
    return [frame for record in records for frame in view.fold(record)]


def decoded(data: Iterable[bytes]) -> list[Chunk]:
    decoder = ChatDecoder("server", "model")
    chunks = [decoder.feed(frame) for frame in data]
    return [chunk for chunk in chunks if chunk is not None]


def records_of(chunks: Sequence[Chunk], start: StreamStart = START, terminal: Terminal | None = None) -> list[Record]:
    """The log that a relay writes of these chunks; without a terminal it is `finished`."""
    every = [Chunk((start,)), *chunks, Chunk((terminal or Finished("stop"),))]
    return [Record(seq, 1000 + seq, chunk.events, chunk.raw) for seq, chunk in enumerate(every)]


def through(chunks: Iterable[dict[str, Any]], params: str = "u") -> list[bytes]:
    """What a reader gets of an upstream that sent these chunks and `[DONE]`."""
    data = [msgspec.json.encode(chunk) for chunk in chunks]
    return frames(records_of(decoded([*data, b"[DONE]"])), params=params)
