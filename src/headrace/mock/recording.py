"""Recorded answers, given again: `.sse` as the bytes that they are, `.ndjson` (the records of a stream) as chunks.

Records keep their pace unless another gap is asked for; bytes have none of their own.
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
from headrace.mock.asked import Asked
from headrace.mock.settings import Settings
from headrace.mock.steps import End, Frame, Part, Pause, Steps

_encode = msgspec.json.encode


class Take(msgspec.Struct, frozen=True):
    """One frame, and the seconds after the one before it."""

    after: float
    frame: Frame


class Recording(msgspec.Struct, frozen=True):
    """An answer that can be given again."""

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

    def whole(self, asked: Asked, settings: Settings) -> Steps:
        """The text as an answer that is not streamed."""
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        top = {"id": "chatcmpl-mock", "object": "chat.completion", "created": 0, "model": asked.model}
        if settings.ttft:
            yield Pause(settings.ttft)
        yield Frame(_encode({**top, "choices": [choice]}), len(self.takes))
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
        return _recording(_from_bytes(data))
    if path.suffix == ".ndjson":
        return _recording(_from_records(_records(data, path)))
    raise ConfigError(f"the recording {path} must end in .ndjson (records) or .sse (an OpenAI chat stream)")


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def _recording(takes: Iterable[Take]) -> Recording:
    kept = tuple(takes)
    text, finish = "", "stop"
    decoder = SSEDecoder()
    for event in decoder.feed(b"".join(take.frame.data for take in kept)):
        for choice in _choices(event.data):
            finish = choice.finish_reason or finish
            if choice.index == 0 and choice.delta and choice.delta.content:
                text += choice.delta.content
    return Recording(kept, text, finish)


def _choices(data: bytes) -> list[_Choice]:
    try:
        return _decode_chunk(data).choices or []
    except NOT_JSON:
        return []


def _from_bytes(data: bytes) -> Iterator[Take]:
    """Cut at blank lines only, so that every byte is kept."""
    for piece in data.replace(b"\r\n", b"\n").split(b"\n\n"):
        if piece.strip():
            yield Take(0.0, _frame(piece + b"\n\n"))


def _frame(data: bytes) -> Frame:
    payload = data.partition(b"data:")[2].strip()
    part: Part = "opening"
    if payload == b"[DONE]":
        part = "done"
    elif any(choice.finish_reason for choice in _choices(payload)) or b'"choices":[]' in payload:
        part = "finish"
    elif any(choice.delta and choice.delta.content for choice in _choices(payload)):
        part = "content"
    return Frame(data, part == "content", part)


def _records(data: bytes, path: Path) -> Iterator[Record]:
    for number, line in enumerate(NDJSONDecoder(max_line_bytes=len(data) + 1).feed(data + b"\n"), 1):
        try:
            yield decode_record(line)
        except NOT_JSON as problem:
            raise ConfigError(f"{path}, record {number}: not a record: {problem}") from problem


def _from_records(records: Iterable[Record]) -> Iterator[Take]:
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
                yield Take(after, _chunk(choices, fields))
                after = 0.0
    yield Take(0.0, Frame(b"data: [DONE]\n\n", part="done"))


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


def _chunk(choices: list[dict[str, Any]], fields: dict[str, Any]) -> Frame:
    top = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": "mock"}
    return _frame(b"data: " + _encode({**top, "choices": choices, **fields}) + b"\n\n")
