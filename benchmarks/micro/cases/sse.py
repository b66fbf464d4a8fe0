"""Bytes of a model server to frames."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.micro.cases import material
from headrace.codecs.sse import SSEDecoder


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


CASES = {"decode-batch": decode_batch, "decode-single": decode_single}
