"""Recorded answers, read from a file and made ready to be given again.

Two kinds, told apart by the end of the file's name:

* `.ndjson`: the records of a stream, one a line, as `GET /v1/streams/{id}/events` gives them.
* `.sse`: the bytes of an OpenAI chat stream, as `curl -N` saves them. They have no times, so they come at once.
  Streams of other API shapes are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import anyio
import msgspec

from headrace.codecs import NOT_JSON
from headrace.codecs.sse import SSEDecoder
from headrace.dialects import anthropic_messages, openai_chat, openai_responses
from headrace.dialects.openai_chat import ChatDecoder
from headrace.errors import (
    ConfigError,
    HeadraceError,
    RateLimited,
    StreamCancelled,
    UpstreamError,
    UpstreamIncomplete,
)
from headrace.events import (
    Cancelled,
    Chunk,
    Event,
    Failed,
    Finished,
    Record,
    StepEnd,
    StepStart,
    StreamStart,
    Terminal,
    Usage,
    decode_record,
)

NAME = "replay"
_IS_KEPT = {dialect.NAME: dialect.is_kept_frame for dialect in (openai_chat, openai_responses, anthropic_messages)}
"""What each shape's raw frames must be like: views take them apart without asking again."""
_ERRORS = {error.code: error for error in (UpstreamError, *UpstreamError.__subclasses__())}


class Take(msgspec.Struct, frozen=True):
    """What arrived together, and how long after what came before it."""

    after_ms: int
    chunks: list[Chunk]


class Recording(msgspec.Struct, frozen=True):
    """An answer, ready to be given again; `error` is how it ended, if not well."""

    takes: tuple[Take, ...]
    error: HeadraceError | None = None
    error_after_ms: int = 0


async def read(path: Path) -> Recording:
    """Read a file.

    Raises:
        ConfigError: it is no recording, naming the line.
    """
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as problem:
        raise ConfigError(f"the recording {path} cannot be read: {problem.strerror}") from problem
    return parse(data, path)


def parse(data: bytes, path: Path) -> Recording:
    """`read` for bytes that are already here.

    Raises:
        ConfigError: they are no recording, naming the line.
    """
    if path.suffix == ".sse":
        return _from_sse(data, path.stem)
    if path.suffix == ".ndjson":
        return _from_records(_records(data, path), path.stem)
    raise ConfigError(f"the recording {path} must end in .ndjson (records) or .sse (an OpenAI chat stream)")


def _records(data: bytes, path: Path) -> list[Record]:
    records: list[Record] = []
    dialect = ""
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            line.decode()  # msgspec looks only at the strings that it reads
            record = decode_record(line.replace(b"\r", b" "))  # what is kept of it stays on one line
        except NOT_JSON as problem:
            raise ConfigError(f"{path}, line {number}: not a record: {problem}") from problem
        dialect = next((event.dialect for event in record.events if isinstance(event, StepStart)), dialect)
        if record.raw is not None and dialect in _IS_KEPT and not _IS_KEPT[dialect](record.raw):
            raise ConfigError(f"{path}, line {number}: its raw frame is none that {dialect} keeps")
        records.append(record)
    return records


def _from_records(records: Iterable[Record], model: str) -> Recording:
    takes: list[Take] = []
    terminal: Terminal | None = None
    before: int | None = None
    after_ms = 0
    for record in records:
        after_ms = max(0, record.at_ms - before) if before is not None else 0
        before = record.at_ms
        terminal = record.terminal or terminal
        chunk = _chunk_of(record)
        if chunk is not None:
            _add(takes, chunk, after_ms)
    if not takes and isinstance(terminal, Finished):
        takes.append(Take(0, []))  # an answer that said nothing
    if takes:
        _complete(takes, terminal, model)
    return Recording(tuple(takes), _ending(terminal), after_ms if terminal else 0)


def _chunk_of(record: Record) -> Chunk | None:
    """What the provider said, without what the engine put into the log: the start, and the end with its usage."""
    if record.terminal is not None:
        return None
    events = tuple(
        msgspec.structs.replace(event, provider=NAME) if isinstance(event, StepStart) else event
        for event in record.events
        if not isinstance(event, StreamStart)
    )
    return Chunk(events, record.raw) if events or record.raw is not None else None


def _add(takes: list[Take], chunk: Chunk, after_ms: int) -> None:
    """Put the chunk where it came: with its neighbours of the same read, or after them.

    A `StepEnd` at the end of a list says that the answer is over, so one in the middle of an answer is never there.
    """
    if takes and (after_ms == 0 or _ends_step(takes[-1].chunks)):
        takes[-1].chunks.append(chunk)
    else:
        takes.append(Take(after_ms, [chunk]))


def _complete(takes: list[Take], terminal: Terminal | None, model: str) -> None:
    """Add the step that every answer has, where a recording has none."""
    events = [event for take in takes for chunk in take.chunks for event in chunk.events]
    if not any(isinstance(event, StepStart) for event in events):
        takes[0].chunks.insert(0, Chunk((StepStart(NAME, model),)))
    if isinstance(terminal, Finished) and not _ends_step(takes[-1].chunks):
        takes[-1].chunks.append(Chunk((StepEnd(terminal.reason, _last_usage(events)),)))


def _last_usage(events: Iterable[Event]) -> Usage | None:
    return next((event for event in reversed(list(events)) if isinstance(event, Usage)), None)


def _ends_step(chunks: Sequence[Chunk]) -> bool:
    return bool(chunks and chunks[-1].events and isinstance(chunks[-1].events[-1], StepEnd))


def _ending(terminal: Terminal | None) -> HeadraceError | None:
    match terminal:
        case Finished():
            return None
        case Cancelled():
            return StreamCancelled(f"The recorded stream was cancelled ({terminal.by}).")
        case Failed():
            error = (
                RateLimited if terminal.code == "upstream_rate_limited" else _ERRORS.get(terminal.code, UpstreamError)
            )
            return error(
                terminal.message,
                code=terminal.code,
                status=terminal.status,
                retryable=terminal.retryable,
                retry_after=terminal.retry_after,
            )
        case None:
            return UpstreamIncomplete("The recording stops before the end of the answer.")


def again(error: HeadraceError) -> HeadraceError:
    """A new error of the same content: raising one object twice would join their tracebacks."""
    return type(error)(
        error.message,
        code=error.error_code,
        status=error.status,
        retryable=error.may_retry,
        retry_after=error.retry_after,
    )


def from_chunks(chunks: Sequence[Chunk]) -> Recording:
    """An answer without times, a list for each chunk; one that does not end with a `StepEnd` is incomplete."""
    takes: list[Take] = []
    for chunk in chunks:
        _add(takes, chunk, 1)
    timeless = tuple(Take(0, take.chunks) for take in takes)
    return Recording(timeless, None if _ends_step(chunks) else _ending(None))


def _from_sse(data: bytes, model: str) -> Recording:
    frames = SSEDecoder(max_line_bytes=len(data), max_event_bytes=len(data))
    decoder = ChatDecoder(NAME, model)
    chunks: list[Chunk] = []
    error: HeadraceError | None = None
    try:
        for frame in frames.feed(data):
            chunk = None if decoder.closed else decoder.feed(frame.data)
            if chunk is not None:
                chunks.append(chunk)
    except HeadraceError as problem:
        error = problem
    if error is None and not decoder.closed:
        error = _ending(None)
    return Recording((Take(0, chunks),) if chunks else (), error)
