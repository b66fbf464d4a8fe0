"""Recorded answers, given again: `.sse` as the bytes that they are, `.ndjson` (the records of a stream) as chat chunks.

Bytes are of the shape that their first data is of; a recording answers only requests of its shape. Records keep their
pace unless another gap is asked for; bytes have none of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from headrace.codecs import NOT_JSON
from headrace.codecs.ndjson import NDJSONDecoder
from headrace.codecs.sse import SSEDecoder
from headrace.errors import ConfigError
from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Event,
    ItemStart,
    Record,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
    decode_record,
)
from headrace.mock.answer import quoted
from headrace.mock.question import Question
from headrace.mock.settings import Settings
from headrace.mock.shapes import CHAT, SHAPES, Shape
from headrace.mock.steps import End, Frame, Pause, Steps

_encode = msgspec.json.encode


class Take(msgspec.Struct, frozen=True):
    """One frame, and the seconds after the one before it."""

    after: float
    frame: Frame


class Recording(msgspec.Struct, frozen=True):
    """An answer that can be given again."""

    shape: Shape
    takes: tuple[Take, ...]
    text: str
    finish: str

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def steps(self, settings: Settings) -> Steps:
        """The body of a stream."""
        if settings.ttft:
            yield Pause(settings.ttft)
        draw = settings.gap.drawer(self.text)
        for take in self.takes:
            pause = take.after if draw is None else draw() if take.frame.part == "content" else 0.0
            if pause:
                yield Pause(pause)
            yield take.frame
        yield End()

    def whole(self, question: Question, settings: Settings) -> Steps:
        """The text as an answer that is not streamed."""
        if settings.ttft:
            yield Pause(settings.ttft)
        answer = quoted(question, settings, self.text, self.finish)
        yield Frame(self.shape.writer(answer).body(), len(self.takes))
        yield End()


def read_recording(path: Path) -> Recording:
    """Read a file.

    Raises:
        ConfigError: it is no recording; the message names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"the recording {path} cannot be read: {problem.strerror}") from problem
    return parse_recording(data, path)


def parse_recording(data: bytes, path: Path) -> Recording:
    """`read_recording` for bytes that are already here.

    Raises:
        ConfigError: they are no recording; the message names the line.
    """
    if path.suffix == ".sse":
        return _of_bytes(data)
    if path.suffix == ".ndjson":
        return _recording(CHAT, _from_records(_records(data, path)))
    raise ConfigError(f"the recording {path} must end in .ndjson (records) or .sse (a stream as it was sent)")


def _of_bytes(data: bytes) -> Recording:
    """Cut at blank lines only, so that every byte is kept."""
    pieces = [piece + b"\n\n" for piece in data.replace(b"\r\n", b"\n").split(b"\n\n") if piece.strip()]
    first = next((payload for payload in map(_payload, pieces) if payload), b"")
    shape = next(shape for shape in SHAPES if shape.began(first))
    return _recording(shape, ((0.0, piece) for piece in pieces))


def _recording(shape: Shape, timed: Iterable[tuple[float, bytes]]) -> Recording:
    takes: list[Take] = []
    text, finish = "", "stop"
    for after, data in timed:
        seen = shape.glance(_payload(data))
        takes.append(Take(after, Frame(data, seen.part == "content", seen.part)))
        text += seen.text
        finish = seen.finish or finish
    return Recording(shape, tuple(takes), text, finish)


def _payload(data: bytes) -> bytes:
    return b"\n".join(event.data for event in SSEDecoder().feed(data))


def _records(data: bytes, path: Path) -> Iterator[Record]:
    for number, line in enumerate(NDJSONDecoder(max_line_bytes=len(data) + 1).feed(data + b"\n"), 1):
        try:
            yield decode_record(line)
        except NOT_JSON as problem:
            raise ConfigError(f"{path}, record {number}: not a record: {problem}") from problem


def _from_records(records: Iterable[Record]) -> Iterator[tuple[float, bytes]]:
    """The chunks that an OpenAI server would have sent for these records."""
    items: dict[int, ItemStart] = {}
    calls: dict[int, int] = {}
    before: int | None = None
    for record in records:
        after = 0.0 if before is None else max(0, record.at_ms - before) / 1000
        before = record.at_ms
        for event in record.events:
            if isinstance(event, ItemStart):
                items[event.item] = event
                if event.kind == "tool_call":
                    calls[event.item] = len(calls)
            for choices, fields in _said(event, items, calls):
                yield after, _chunk(choices, fields)
                after = 0.0
    yield 0.0, b"data: [DONE]\n\n"


def _said(
    event: Event, items: dict[int, ItemStart], calls: dict[int, int]
) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    match event:
        case StepStart():
            yield [_choice(0, {"role": "assistant", "content": ""})], {}
        case ItemStart(kind="tool_call"):
            function = {"name": event.name, "arguments": ""}
            call = {"index": calls[event.item], "id": event.call_id, "type": "function", "function": function}
            yield [_choice(event.choice, {"tool_calls": [call]})], {}
        case TextDelta():
            item = items.get(event.item) or ItemStart(event.item, "text")
            field = {"reasoning": item.name or "reasoning_content", "refusal": "refusal"}.get(item.kind, "content")
            yield [_choice(item.choice, {field: event.text})], {}
        case ArgsDelta() if event.item in calls:
            call = {"index": calls[event.item], "function": {"arguments": event.json}}
            yield [_choice(items[event.item].choice, {"tool_calls": [call]})], {}
        case ChoiceEnd():
            yield [{**_choice(event.choice, {}), "finish_reason": event.reason}], {}
        case StepEnd(usage=Usage() as usage):
            yield [], {"usage": _usage(usage)}
        case _:
            pass


def _usage(usage: Usage) -> dict[str, int]:
    total = usage.input + usage.output
    return {"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": total}


def _choice(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": None}


def _chunk(choices: list[dict[str, Any]], fields: dict[str, Any]) -> bytes:
    top = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": "mock"}
    return b"data: " + _encode({**top, "choices": choices, **fields}) + b"\n\n"
