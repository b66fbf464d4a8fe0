"""Records to frames of a shape: folded and encoded, one by one."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.micro.cases import material
from headrace.dialects import NATIVE, OPENAI_CHAT, TEXT
from headrace.dialects.base import Dialect


def chat_text() -> Callable[[], int]:
    """A piece of text as a chunk of chat."""
    return _rendering(OPENAI_CHAT, material.ROLE, material.TEXTS)


def chat_tool_call() -> Callable[[], int]:
    """A piece of a tool call's arguments as a chunk of chat."""
    return _rendering(OPENAI_CHAT, material.FIRST_CALL, material.ARGUMENTS)


def chat_unknown() -> Callable[[], int]:
    """A record that kept its JSON as a chunk of chat."""
    return _rendering(OPENAI_CHAT, material.ROLE, material.UNKNOWN)


def native() -> Callable[[], int]:
    """A piece of text as a record's JSON."""
    return _rendering(NATIVE, material.ROLE, material.TEXTS)


def text() -> Callable[[], int]:
    """A piece of text as itself."""
    return _rendering(TEXT, material.ROLE, material.TEXTS)


def _rendering(dialect: Dialect, first: bytes, frames: list[bytes]) -> Callable[[], int]:
    view = dialect.view("")
    opening, records = material.log([first], frames)
    for record in opening:
        view.fold(record)
    fold, encode = view.fold, view.encode
    return lambda: len([encode(frame) for record in records for frame in fold(record)])


CASES = {
    "chat-text": chat_text,
    "chat-tool-call": chat_tool_call,
    "chat-unknown": chat_unknown,
    "native": native,
    "text": text,
}
