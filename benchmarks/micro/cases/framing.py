"""Frames to the bytes of a body, as one connection writes them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.micro.cases import material
from headrace.dialects import OPENAI_CHAT
from headrace.transports.framing import SSE

_WRITE = 128 * 1024


def batch() -> Callable[[], int]:
    """A frame of chat, with an id, of 100 in one write."""
    return _encoding(material.FRAMES)


def single() -> Callable[[], int]:
    """A frame of chat, with an id, alone in a write."""
    return _encoding(1)


def _encoding(together: int) -> Callable[[], int]:
    view = OPENAI_CHAT.view("")
    opening, texts = material.log([material.ROLE], material.TEXTS)
    for record in opening:
        view.fold(record)
    frames = [frame for record in texts for frame in view.fold(record)]
    writes = [frames[start : start + together] for start in range(0, len(frames), together)]
    framing = SSE(ids="c1.")
    return lambda: sum([framing.encode(view, write, 1000, _WRITE)[1] for write in writes])


CASES = {"sse-batch": batch, "sse-single": single}
