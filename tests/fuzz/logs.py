"""What must hold of every log, whatever an upstream, a file or another server has put into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.dialects import ANTHROPIC_MESSAGES, DIALECTS, NATIVE, OPENAI_CHAT, OPENAI_RESPONSES
from headrace.dialects.base import View
from headrace.dialects.openai_chat import ChatDecoder
from headrace.errors import HeadraceError
from headrace.events import Answer, Chunk, Failed, Finished, Record, Terminal, decode_record
from headrace.transforms.accumulator import Accumulator
from tests.dialects.rendering import START, VIEWS

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def terminal_of(error: HeadraceError | None) -> Terminal:
    """How the relay ends a log."""
    if error is None:
        return Finished("stop")
    return Failed(error.error_code, error.message, error.may_retry, error.status, error.retry_after, error.param)


def log_of(chunks: Sequence[Chunk], terminal: Terminal) -> list[Record]:
    """The log that a relay writes."""
    every = [Chunk((START,)), *chunks, Chunk((terminal,))]
    return [Record(seq, 1000 + seq, chunk.events, chunk.raw) for seq, chunk in enumerate(every)]


_IN_PARTS = (OPENAI_RESPONSES.name, ANTHROPIC_MESSAGES.name)
"""Shapes in which each item and each of its parts begins and ends with a frame."""


def check_log(records: Sequence[Record], cut: int) -> Answer:
    """Every view renders it, resumes in it, and its answer can be given; `cut` chooses a position."""
    for record in records:
        assert decode_record(msgspec.json.encode(record)) == record, "a record changes in a store"
    for dialect, params in VIEWS:
        _check_view(DIALECTS[dialect].view(params), DIALECTS[dialect].view(params), records, cut, dialect)
    accumulator = Accumulator()
    for record in records:
        accumulator.feed([record])
    answer = accumulator.answer()
    assert accumulator.estimated_output_tokens() >= 0
    for dialect in (NATIVE, OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES):
        assert isinstance(json.loads(dialect.answer(answer), parse_int=float), dict)
    return answer


def _check_view(view: View, resumed: View, records: Sequence[Record], cut: int, dialect: str) -> None:
    frames = [frame for record in records for frame in view.fold(record)]
    encoded = [view.encode(frame) for frame in frames]
    assert [view.encode(frame) for frame in frames] == encoded, "a frame is not the same for ever"
    if dialect != "text":
        most = len(records) + 2
        if dialect in _IN_PARTS:
            most += 6 * sum(len(record.events) for record in records)
        assert len(frames) <= most, "more frames than the log has reason for"
        for data in encoded:
            _check_frame(data)
    sizes = [view.size(frame) for frame in frames]
    position = cut % (sum(sizes) + 1)
    assert _after(position, resumed, records) == _joined(encoded, sizes, position), "a resume is not exact"


def _check_frame(data: bytes) -> None:
    """One line of valid JSON in valid UTF-8, or the end."""
    assert data and b"\n" not in data and b"\r" not in data
    data.decode()
    if data != b"[DONE]":
        _fields_of(data)


def _after(position: int, view: View, records: Sequence[Record]) -> bytes:
    """What a reader gets that comes back at the position: folding without encoding up to it."""
    reached, rest = 0, list[bytes]()
    for record in records:
        for frame in view.fold(record):
            reached += view.size(frame)
            if reached > position:
                data = view.encode(frame)
                rest.append(data[-(reached - position) :] if reached - view.size(frame) < position else data)
    return b"\n".join(rest)


def _joined(encoded: list[bytes], sizes: list[int], position: int) -> bytes:
    """What is left of an uninterrupted read after the position."""
    rest = list[bytes]()
    for data, size in zip(encoded, sizes, strict=True):
        if position < size:
            rest.append(data[position:] if position else data)
        position = max(0, position - size)
    return b"\n".join(rest)


def check_second_hand(records: Sequence[Record], answer: Answer) -> None:
    """A Headrace behind this one understands what this one sends, and hears the same answer."""
    view, decoder = OPENAI_CHAT.view("u"), ChatDecoder("second", "model")
    chunks: list[Chunk] = []
    for record in records[:-1]:
        for frame in view.fold(record):
            chunk = decoder.feed(view.encode(frame))
            chunks += [chunk] if chunk is not None else []
    accumulator = Accumulator()
    accumulator.feed(log_of(chunks, Finished("stop")))
    second = accumulator.answer()
    assert _said(second) == _said(answer), "another Headrace hears another answer"


def _said(answer: Answer) -> dict[int, dict[str, Any]]:
    """The texts by choice and kind, and the tool calls: whatever else items say."""
    said: dict[int, dict[str, Any]] = {}
    for choice in answer.choices:
        for item in choice.items:
            if item.kind == "tool_call":
                said.setdefault(choice.index, {}).setdefault("calls", []).append((item.call_id, item.name, item.text))
            elif item.text:
                texts = said.setdefault(choice.index, {})
                texts[item.kind] = texts.get(item.kind, "") + item.text
    return said
