"""Bytes to frames and back."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.micro.cases import material
from headrace.codecs.sse import SSEDecoder
from headrace.dialects import OPENAI_CHAT
from headrace.transports.framing import BATCH_BYTES, SSE


def decode_batch() -> Callable[[], int]:
    """A frame, of 100 that come in one read."""
    decoder = SSEDecoder()
    read = b"".join(material.wire(material.TEXTS))
    return lambda: len(decoder.feed(read))


def decode_single() -> Callable[[], int]:
    """A frame that comes alone in a read."""
    decoder = SSEDecoder()
    reads = material.wire(material.TEXTS)
    return lambda: sum([len(decoder.feed(read)) for read in reads])


def encode_batch() -> Callable[[], int]:
    """A frame of chat, with an id, of 100 in one write."""
    return _encoding(material.FRAMES)


def encode_single() -> Callable[[], int]:
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
    return lambda: sum([framing.encode(view, write, 1000, BATCH_BYTES)[1] for write in writes])


CASES = {
    "decode-batch": decode_batch,
    "decode-single": decode_single,
    "encode-batch": encode_batch,
    "encode-single": encode_single,
}
