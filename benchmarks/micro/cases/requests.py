"""A request of 2 kB: read from a caller, written for a model server."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.dialects import OPENAI_CHAT
from headrace.dialects.openai_chat import write_request

_SENTENCE = "The water runs down the race to the wheel, and the wheel turns the stone. "
_BODY = msgspec.json.encode(
    {
        "model": "small",
        "messages": [
            {"role": "system", "content": "You are brief. " + _SENTENCE * 4},
            {"role": "user", "content": _SENTENCE * 8},
            {"role": "assistant", "content": _SENTENCE * 6},
            {"role": "user", "content": [{"type": "text", "text": _SENTENCE * 3}]},
        ],
        "temperature": 0.7,
        "max_tokens": 500,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "somebody",
    }
)


def parse() -> Callable[[], int]:
    """A body read."""
    return lambda: len(OPENAI_CHAT.parse(_BODY).messages) // 4


def write() -> Callable[[], int]:
    """A body written."""
    request = OPENAI_CHAT.parse(_BODY)
    return lambda: int(bool(write_request(request, "large", stream=True)))


CASES = {"parse": parse, "write": write}
