"""One log as lines of JSON, for whoever has to show later what was asked and what was answered.

docs/protocol.md has the form. An ended stream gives the same bytes on every node, as long as the list prices stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import anyio.lowlevel
import msgspec

from headrace.bodies import Body
from headrace.engine.subscription import BATCH
from headrace.errors import NotFound
from headrace.events import Event, Record, StepEnd, StepStart, StreamStart, Usage
from headrace.policy.pricing import cost_of
from headrace.stores.base import StreamInfo, StreamStore

MEDIA_TYPE = "application/x-ndjson"
VERSION = 1
"""Of the lines' form."""

_PIECE = 64 * 1024
"""Bytes after which a piece is handed out: to make one takes half a millisecond."""
_PAGE = 512 * 1024
"""Bytes that a page of records may have on average: a store may have to decode all of it in one go."""

# Between the tokens of JSON a line break is a space, and inside of a string there is none.
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="record"):
    """A record without its `raw`, with its time as people read it."""

    seq: int
    at_ms: int
    time: str
    events: tuple[Event, ...]


async def exported(store: StreamStore, info: StreamInfo, request: Body) -> AsyncGenerator[bytes]:
    """The log as it was when `info` was asked for, in pieces of about 64 KiB, between which others run.

    `request` is the store's; empty, it was not to be stored.

    The last line says that all came, and has the SHA-256 of everything before it. For a stream that runs it is another
    one, so that nobody takes what there is so far for the whole.

    Raises:
        NotFound: the stream was deleted or has expired; what came before is not the whole.
        StoreError: the store cannot be read, likewise.
    """
    digest = hashlib.sha256()
    totals = _Totals()
    for piece in _pieces(_head(info, request, await _start(store, info.id))):
        digest.update(piece)
        yield piece
        await anyio.lowlevel.checkpoint()
    read, page = 0, _page(info)
    while read < info.next_seq:
        records = (await store.read(info.id, read - 1, page))[: info.next_seq - read]
        if not records:
            raise NotFound(f"The log of stream {info.id} is not whole any more.")
        read += len(records)
        for piece in _pieces(totals.lines(records)):
            digest.update(piece)
            yield piece
            await anyio.lowlevel.checkpoint()
    yield _encode(totals.seal(info, digest.hexdigest())) + b"\n"


class _Totals:
    """What is known of a stream once its records have passed."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._step: StepStart | None = None

    def lines(self, records: Sequence[Record]) -> Iterator[bytes]:
        """Each record's line, made when it is asked for."""
        for record in records:
            for event in record.events:
                self._note(event)
            line = _encode(_Line(record.seq, record.at_ms, _time(record.at_ms), record.events))
            if record.raw is None:
                yield line
            else:
                yield line[:-1] + b',"raw":'
                yield from _on_one_line(record.raw)
                yield b"}"
            yield b"\n"

    def _note(self, event: Event) -> None:
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, StepStart | StepEnd):
            self._usage = event.usage or self._usage
            if self._step is None and isinstance(event, StepStart):
                self._step = event

    def seal(self, info: StreamInfo, sha256: str) -> dict[str, Any]:
        """The last line."""
        usage, step = self._usage, self._step
        return {
            "type": "partial" if info.state == "running" else "end",
            "state": info.state,
            "records": info.next_seq,
            "usage": usage and msgspec.structs.asdict(usage),
            "cost_usd": None if usage is None or step is None else cost_of(usage, step.provider, step.model),
            "sha256": sha256,
        }


async def _start(store: StreamStore, stream_id: str) -> StreamStart:
    records = await store.read(stream_id, -1, 1)
    start = records[0].events[0] if records else None
    if not isinstance(start, StreamStart):
        raise NotFound(f"There is no stream {stream_id}.")
    return start


def _head(info: StreamInfo, request: Body, start: StreamStart) -> Iterator[bytes]:
    """The first line: what is known of the stream, with the request as the last field."""
    fields = {
        "type": "stream",
        "version": VERSION,
        "id": info.id,
        "owner": info.owner,
        "model": start.model,
        "dialect": start.dialect,
        "state": info.state,
        "created_ms": info.created_ms,
        "created": _time(info.created_ms),
        "ended_ms": info.ended_ms,
        "ended": None if info.ended_ms is None else _time(info.ended_ms),
        "metadata": start.meta,
    }
    yield _encode(fields)[:-1] + b',"request":'
    for part in (request or b"null",) if isinstance(request, bytes) else request.parts:
        yield from _on_one_line(part)
    yield b"}\n"


def _on_one_line(data: bytes) -> Iterator[bytes]:
    """JSON as somebody else wrote it; in pieces, since it may be an image."""
    view = memoryview(data)
    for first in range(0, len(view), _PIECE):
        yield bytes(view[first : first + _PIECE]).translate(_ONE_LINE)


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `_PIECE` to twice that, and a last one."""
    gathered = bytearray()
    for part in parts:
        for first in range(0, len(part), _PIECE):
            gathered += part[first : first + _PIECE]
            if len(gathered) >= _PIECE:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


def _page(info: StreamInfo) -> int:
    """How many records to read at a time."""
    return max(1, min(BATCH, _PAGE * info.next_seq // max(info.bytes, 1)))


def _time(at_ms: int) -> str:
    """ISO 8601, in UTC."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
