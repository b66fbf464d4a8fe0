"""Frames of chat completions to chunks of events: the shape that model servers speak."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.micro.cases import material


def text() -> Callable[[], int]:
    """A frame with a piece of text."""
    return _decoding(material.ROLE, material.TEXTS)


def tool_call() -> Callable[[], int]:
    """A frame with a piece of a tool call's arguments."""
    return _decoding(material.FIRST_CALL, material.ARGUMENTS)


def unknown() -> Callable[[], int]:
    """A frame with a piece of text and a field that is not modelled, so that its JSON is kept."""
    return _decoding(material.ROLE, material.UNKNOWN)


def _decoding(first: bytes, frames: list[bytes]) -> Callable[[], int]:
    feed = material.opened(first).feed
    return lambda: sum([feed(data) is not None for data in frames])


CASES = {"decode-text": text, "decode-tool-call": tool_call, "decode-unknown": unknown}
