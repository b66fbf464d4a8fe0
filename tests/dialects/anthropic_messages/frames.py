"""Anthropic's streams as fixtures, and the few lines between a server's bytes and a reader's frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.codecs.sse import SSEDecoder
from headrace.dialects.anthropic_messages import MessagesDecoder
from headrace.events import Chunk, Record, StreamStart, Terminal
from headrace.transforms.accumulator import Accumulator
from tests.dialects import rendering

Frame = dict[str, Any]
NAME = "anthropic.messages"
START = StreamStart(id="0" * 32, owner="someone", created=1_700_000_000, model="demo", dialect=NAME, input_tokens=7)
PUBLIC = {"id": "msg_" + START.id, "model": START.model}
FIXTURES = {path.stem: path.read_bytes() for path in (Path(__file__).parents[2] / "fixtures/anthropic").glob("*.sse")}
BROKEN = ("overloaded", "truncated")
WHOLE = sorted(set(FIXTURES) - set(BROKEN))


def data_of(body: bytes) -> list[bytes]:
    return [frame.data for frame in SSEDecoder().feed(body)]


def sent(name: str) -> list[Frame]:
    """The frames of a fixture."""
    return [json.loads(data) for data in data_of(FIXTURES[name])]


def decoded(data: Iterable[bytes]) -> list[Chunk]:
    decoder = MessagesDecoder("server", "model")
    chunks = [decoder.feed(frame) for frame in data]
    return [chunk for chunk in chunks if chunk is not None]


def lines(frames: Iterable[Frame]) -> list[bytes]:
    return [msgspec.json.encode(frame) for frame in frames]


def records_of(chunks: Sequence[Chunk], terminal: Terminal | None = None) -> list[Record]:
    return rendering.records_of(chunks, START, terminal)


def shown(records: Iterable[Record]) -> list[bytes]:
    """What a reader of this shape gets."""
    return rendering.frames(records, NAME, "")


def read(records: Iterable[Record]) -> list[Frame]:
    return [json.loads(data) for data in shown(records)]


def through(frames: Iterable[Frame], terminal: Terminal | None = None) -> list[Frame]:
    """What a reader gets of an upstream that sent these."""
    return read(records_of(decoded(lines(frames)), terminal))


def public(frames: Iterable[Frame]) -> list[Frame]:
    """The frames as a reader should get them: without pings, with our id and model."""
    return [
        {**frame, "message": {**frame["message"], **PUBLIC}} if frame["type"] == "message_start" else frame
        for frame in frames
        if frame["type"] != "ping"
    ]


def answer_of(records: Iterable[Record]) -> Any:
    accumulator = Accumulator()
    accumulator.feed(records)
    return accumulator.answer()


# Frames, one line each


def start(**message: Any) -> Frame:
    usage = {"input_tokens": 5, "output_tokens": 1}
    fields = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return {
        "type": "message_start",
        "message": {**fields, "stop_reason": None, "stop_sequence": None, "usage": usage, **message},
    }


def block(index: int, kind: str, **fields: Any) -> Frame:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(index: int, kind: str, **fields: Any) -> Frame:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def text(index: int, said: str) -> Frame:
    return delta(index, "text_delta", text=said)


def fragment(index: int, said: str) -> Frame:
    return delta(index, "input_json_delta", partial_json=said)


def stop(index: int) -> Frame:
    return {"type": "content_block_stop", "index": index}


def end(reason: str | None = "end_turn", **usage: int) -> Frame:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": usage or {"output_tokens": 3}}


DONE: Frame = {"type": "message_stop"}
PING: Frame = {"type": "ping"}
