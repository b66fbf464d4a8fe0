"""Answers as bytes, and exchanges that read them at times that a test says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from headrace.bench.exchange import Exchange, Live
from headrace.bench.outcome import Outcome
from headrace.bench.shapes import SHAPES
from headrace.bench.shapes.base import Reading

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def event(value: Any, name: str = "") -> bytes:
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def chunked(frames: Iterable[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames) + LAST_CHUNK


def delta(text: str, field: str = "content") -> bytes:
    return event({"choices": [{"index": 0, "delta": {field: text}, "finish_reason": None}]})


def chat(words: Sequence[str] = ("Hel", "lo", " wörld")) -> list[bytes]:
    """A chat completion with its opening, its finish and its usage; only the words are content."""
    return [
        event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
        *(delta(word) for word in words),
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words)}}),
        event("[DONE]"),
    ]


def exchange(reading: Reading | None = None, live: Live | None = None, started: float = 0.0) -> Exchange:
    return Exchange(reading or SHAPES["openai.chat"].start(), started, live or Live())


def read(pieces: Iterable[bytes], reading: Reading | None = None) -> Exchange:
    """An exchange that got these pieces one second after the other, the first after one second."""
    found = exchange(reading)
    found.sent = True
    for second, piece in enumerate(pieces, 1):
        found.take(float(second), piece)
    return found


def outcome(pieces: Iterable[bytes], reading: Reading | None = None) -> Outcome:
    found = read(pieces, reading).outcome
    assert found is not None
    return found
