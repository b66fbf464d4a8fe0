"""The stream that all cases are fed with: an answer of 100 short texts, as model servers write it."""

from __future__ import annotations

import msgspec

from headrace.dialects.openai_chat import ChatDecoder
from headrace.events import Chunk, Record, StreamStart

FRAMES = 100
"""Frames of one kind in a row: as many as one read of a busy upstream may bring."""

START = StreamStart(
    id="0123456789abcdef0123456789abcdef", owner="", created=1_750_000_000, model="small", dialect="openai.chat"
)
_WORDS = ("the", " water", " runs", " down", " the", " race", " to", " a", " wheel", ".")


def frame(delta: dict[str, object], **more: object) -> bytes:
    """The data of one chunk; `more` are fields that the chunk has besides the usual ones."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    fields = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": "small"}
    return msgspec.json.encode({**fields, "choices": [choice], **more})


def call(arguments: str, **more: object) -> dict[str, object]:
    """The delta of a tool call's fragment."""
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments, **more}}]}


ROLE = frame({"role": "assistant", "content": ""})
TEXTS = [frame({"content": _WORDS[number % len(_WORDS)]}) for number in range(FRAMES)]
UNKNOWN = [frame({"content": _WORDS[number % len(_WORDS)]}, vendor={"trace": number}) for number in range(FRAMES)]
FIRST_CALL = frame({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up"}}]})
ARGUMENTS = [frame(call(_WORDS[number % len(_WORDS)])) for number in range(FRAMES)]


def wire(frames: list[bytes]) -> list[bytes]:
    """Each frame as a model server sends it."""
    return [b"data: " + data + b"\n\n" for data in frames]


def opened(*first: bytes) -> ChatDecoder:
    """A decoder in the middle of an answer that began with these frames."""
    decoder = ChatDecoder("provider", "small")
    for data in first:
        decoder.feed(data)
    return decoder


def chunks(*data: bytes) -> list[Chunk]:
    """What one answer's frames say."""
    decoder = opened()
    return [chunk for each in data if (chunk := decoder.feed(each)) is not None]


def records(said: list[Chunk], first: int = 0) -> list[Record]:
    """Chunks as the records of a log, from this number on."""
    return [Record(seq, 1_750_000_000_000, chunk.events, chunk.raw) for seq, chunk in enumerate(said, first)]


def log(opening: list[bytes], frames: list[bytes]) -> tuple[list[Record], list[Record]]:
    """The records that a log of these frames begins with, and those of its frames."""
    whole = records([Chunk((START,)), *chunks(*opening, *frames)])
    return whole[: -len(frames)], whole[-len(frames) :]
