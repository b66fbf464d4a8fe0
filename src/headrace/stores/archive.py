"""Ended logs, compressed: blocks of records, of which a reader decodes only those that it reads.

A block is the JSON of its records, deflated. What JSON does not give back exactly stays as it is, so that nobody can
tell an archive from the log that it was (P4, P17).
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

import anyio.lowlevel
import msgspec

from headrace.bodies import Body, Pieces
from headrace.codecs import NOT_JSON
from headrace.events import Record
from headrace.stores.weight import weigh

BLOCK_RECORDS = 250
"""Records a block: a reader asks for a thousand at a time, from the start, so it decodes none twice."""

BLOCK_BYTES = 80 * 1024
"""Memory that a block's records may take: all that is done with one block ends within about a millisecond. Enough for
`BLOCK_RECORDS` of one token; a single record that is larger is not compressed."""

# A third of the time of zlib's own default, for blocks that are an eighth larger.
_LEVEL = 1
# What does not shrink by a third at its beginning is an image or the like: 20 ms per MiB for a quarter of it.
_SAMPLE = 4096

# Bytes beside a block's own: the header, the places in the two lists, the number. Measured with tracemalloc.
_BLOCK = 96

# `TypeError` for what JSON has no word for, `ValueError` for half of a surrogate pair.
_NOT_ENCODABLE = (*NOT_JSON, TypeError, ValueError, OverflowError)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Record]).decode


class Archive:
    """One stream's records and its request. It only grows; whoever fills it lets others run between two pieces."""

    __slots__ = ("_blocks", "_ends", "_request", "bytes", "request_bytes")

    def __init__(self) -> None:
        self._blocks: list[bytes | Sequence[Record]] = []
        self._ends: list[int] = []  # of each block, the seq after its last record
        self._request: list[bytes] = []
        self.bytes = 0
        """What the records take."""
        self.request_bytes = 0
        """What the request takes."""

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add(self, records: Sequence[Record]) -> None:
        """Append one block, as `blocks` cuts them."""
        size = weigh(records)
        packed = _pack(records) if size <= BLOCK_BYTES else None
        self._ends.append(len(self) + len(records))
        self._blocks.append(records if packed is None else packed)
        self.bytes += _BLOCK + (size if packed is None else len(packed))

    def add_request(self, piece: bytes) -> None:
        """Append to the request."""
        packed = _deflate(piece)
        self._request.append(packed)
        self.request_bytes += _BLOCK + len(packed)

    async def read(self, start: int, limit: int) -> Sequence[Record]:
        """Records from `start` on, at most `limit`; others run between two blocks."""
        records: list[Record] = []
        end = min(start + limit, len(self))
        index = bisect_right(self._ends, start)
        while start < end:
            if records:
                await anyio.lowlevel.checkpoint()
            first = self._ends[index - 1] if index else 0
            records += _unpack(self._blocks[index])[start - first : end - first]
            start = self._ends[index]
            index += 1
        return records

    async def request(self) -> Body:
        """The whole request; others run between two pieces."""
        pieces: list[bytes] = []
        for packed in self._request:
            pieces.append(zlib.decompress(packed))
            await anyio.lowlevel.checkpoint()
        return Pieces(pieces, sum(map(len, pieces))) if len(pieces) > 1 else b"".join(pieces)


def blocks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The records in pieces for `Archive.add`; each is cut when it is asked for."""
    first = 0
    while first < len(records):
        end, size = first, 0
        for record in islice(records, first, first + BLOCK_RECORDS):
            size += weigh((record,))
            if size > BLOCK_BYTES and end > first:
                break
            end += 1
        yield records[first:end]
        first = end


def pieces(request: Body) -> Iterator[bytes]:
    """The request in pieces for `Archive.add_request`."""
    gathered = bytearray()
    for part in (request,) if isinstance(request, bytes) else request.parts:
        for first in range(0, len(part), BLOCK_BYTES):
            gathered += part[first : first + BLOCK_BYTES]
            if len(gathered) >= BLOCK_BYTES:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


def _pack(records: Sequence[Record]) -> bytes | None:
    """The block, or None where it would not come back equal: an `Any` of an event may hold whatever a provider gave."""
    try:
        data = _encode(records)
        if _decode(data) != records:
            return None
    except _NOT_ENCODABLE:
        return None
    return _deflate(data)


def _unpack(block: bytes | Sequence[Record]) -> Sequence[Record]:
    return _decode(zlib.decompress(block)) if isinstance(block, bytes) else block


def _deflate(data: bytes) -> bytes:
    sample = data[:_SAMPLE]
    shrinks = len(zlib.compress(sample, _LEVEL)) * 3 < len(sample) * 2
    return zlib.compress(data, _LEVEL if shrinks else 0)
