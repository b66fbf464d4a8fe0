"""`headrace tail`: read a stream in the terminal, through any number of cuts.

The server sends the records; the view is folded here. So one position, the record's, resumes every format, and the
terminal record itself says how the stream ended, which the text format has no word for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from typing import Annotated, Any, Final, Literal

import typer

from headrace.cli.connection import (
    DEFAULT_URL,
    Connection,
    KeyOption,
    StreamStatus,
    UrlOption,
    printable,
    stream_id,
)
from headrace.codecs import NOT_JSON
from headrace.codecs.sse import SSEEvent
from headrace.dialects import BY_CODE, DIALECTS, NATIVE, cursor
from headrace.dialects.base import View
from headrace.dialects.cursor import Cursor
from headrace.errors import HeadraceError, InvalidCursor
from headrace.events import (
    RENDER_VERSION,
    Cancelled,
    Failed,
    Finished,
    Record,
    StreamStart,
    Terminal,
    Usage,
    decode_record,
)

app = typer.Typer(add_completion=False)
Format = Literal["text", "native", "openai.chat"]

_EXAMPLES = """[bold]Examples[/]
headrace tail chatcmpl-4f2c…          the text, until it ends
headrace tail 4f2c… --from n1.57      what came after record 57
headrace tail 4f2c… --format native | jq -c .events
headrace tail 4f2c… --no-follow > so-far.txt"""

# For a server that does not say so with `retry:`; EventSource's usual 3 s is long for somebody who looks on.
_FIRST_DELAY_S = 1.0
# As the OpenAI client's longest pause between two tries.
_LONGEST_DELAY_S = 8.0
# With those pauses about a minute: longer than a restart takes.
_MAX_TRIES = 10

_EXIT_CODES: Final = {"running": 0, "finished": 0, "failed": 1, "cancelled": 3}


@app.command(epilog=_EXAMPLES)
def tail(
    id: Annotated[str, typer.Argument(metavar="ID", show_default=False, help="The stream, as chatcmpl-… or bare.")],
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    format: Annotated[Format, typer.Option(help="The answer's text, or one line of JSON per frame.")] = "text",
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="CURSOR", help="Only what comes after this cursor, of the native format or of --format."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for more until the stream ends.")] = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Sum up at the end even if stderr is no terminal.")
    ] = False,
) -> None:
    """Print a stream, running or ended. After a cut it comes back by itself: nothing is lost, nothing comes twice.

    Exit code: 0 finished, 1 failed or not to be read, 3 cancelled.
    """
    output = _Output(format, _cursor(start, format))
    reader = _Reader(stream_id(id), output)
    try:
        with contextlib.closing(output):
            state = asyncio.run(_read(url, api_key, reader, follow))
    except KeyboardInterrupt:
        typer.echo(f"headrace: to go on: headrace tail {reader.id} --from {reader.position}", err=True)
        raise typer.Exit(130) from None
    if isinstance(output.terminal, Failed):
        typer.echo(f"headrace: the stream failed: {printable(output.terminal.message)}", err=True)
    if verbose or sys.stderr.isatty():
        typer.echo(f"headrace: {output.summary(state)}", err=True)
    raise typer.Exit(_EXIT_CODES[state])


async def _read(url: str, api_key: str | None, reader: _Reader, follow: bool) -> str:
    async with Connection(url, api_key) as connection:
        return await reader.read(connection, None if follow else await connection.status(reader.id))


class _Output:
    """Records in, a view's bytes on stdout; what comes before the start position is folded and not printed."""

    def __init__(self, format: Format, start: Cursor | None) -> None:
        self._dialect = DIALECTS[format]
        self._start = start or Cursor(NATIVE.code, RENDER_VERSION, "", 0)
        self._view: View | None = None
        self._line_end = b"" if format == "text" else b"\n"
        self._units = 0
        self._waiting = bytearray()
        self._line_open = False
        self.records = 0
        """How many were taken: the position in the native format."""
        self.terminal: Terminal | None = None
        self._usage: Usage | None = None
        self._began_ms = self._last_ms = 0

    def take(self, record: Record) -> None:
        """Take one record, to be printed by the next `flush`; one that was already taken is left out.

        Raises:
            HeadraceError: records are missing before it.
        """
        if record.seq < self.records:
            return
        if record.seq > self.records:
            raise HeadraceError(f"the server left out records {self.records} to {record.seq - 1}")
        self.records += 1
        self._note(record)
        if self._view is None:
            self._view = self._dialect.view(self._params(record))
        printed = self._start.code != NATIVE.code or record.seq >= self._start.position
        for frame in self._view.fold(record):
            part = self._new_part(self._view, frame)
            if printed:
                self._waiting += part

    def _params(self, first: Record) -> str:
        """The cursor's parameters win; else the stream's own, in the shape that created it (as on the server).

        Raises:
            HeadraceError: the record does not begin a stream.
        """
        starts = [event for event in first.events if isinstance(event, StreamStart)]
        if not starts:
            raise HeadraceError("the server's first record does not begin a stream")
        if self._start.code == self._dialect.code:
            return self._start.params
        return next((event.params for event in starts if event.dialect == self._dialect.name), "")

    def _new_part(self, view: View, frame: Any) -> bytes:
        """The frame without what a cursor of its own format says was received."""
        before, self._units = self._units, self._units + view.size(frame)
        received = self._start.position if self._start.code == self._dialect.code else 0
        if self._units <= received:
            return b""
        # A frame is cut only where the unit is the byte.
        return view.encode(frame)[max(received - before, 0) :] + self._line_end

    def _note(self, record: Record) -> None:
        self._began_ms = self._began_ms or record.at_ms
        self._last_ms = record.at_ms
        self.terminal = record.terminal
        for event in record.events:
            if isinstance(event, Usage):
                self._usage = event

    def flush(self) -> None:
        """Print what was taken, in one write."""
        data, self._waiting = bytes(self._waiting), bytearray()
        if not data:
            return
        self._line_open = not data.endswith(b"\n")
        if sys.stdout.isatty():
            data = printable(data.decode("utf-8", "replace")).encode()
        typer.echo(data, nl=False)

    def close(self) -> None:
        """Leave a terminal's next prompt on its own line; what goes into a file or a pipe is the exact text."""
        if self._line_open and sys.stdout.isatty():
            typer.echo()

    def summary(self, state: str) -> str:
        """State, tokens and seconds in one line, as far as the log tells them."""
        parts = [state]
        if isinstance(self.terminal, Finished):
            parts[0] += f" ({printable(self.terminal.reason)})"
        elif isinstance(self.terminal, Cancelled):
            parts[0] += f" (by {printable(self.terminal.by)})"
        if self._usage is not None:
            parts.append(f"{self._usage.output} tokens after a prompt of {self._usage.input}")
        parts.append(f"{(self._last_ms - self._began_ms) / 1000:.1f} s")
        return ", ".join(parts)


class _Reader:
    """One stream over any number of connections."""

    def __init__(self, id: str, output: _Output) -> None:
        self.id = id
        self._output = output
        self._last_event_id = ""
        self._attached = False
        self._failures = 0

    @property
    def position(self) -> str:
        """Where a later `--from` continues, in any format."""
        return str(Cursor(NATIVE.code, RENDER_VERSION, "", self._output.records))

    async def read(self, connection: Connection, until: StreamStatus | None) -> str:
        """Read to the end, or to where `until` says that the stream is; return the state there.

        Raises:
            HeadraceError: the first connection failed, or no other one helps.
        """
        while True:
            if state := self._state(until):
                return state
            try:
                if state := await self._attach(connection, until):
                    return state
                cut = HeadraceError(f"the connection to {connection.url} ended before the stream", retryable=True)
            except HeadraceError as error:
                cut = error
            self._failures += 1
            if not (self._attached and cut.may_retry) or self._failures > _MAX_TRIES:
                raise cut
            delay = _delay(self._failures, connection.retry_s)
            after = self._output.records
            typer.echo(f"headrace: {cut.message}; trying again after record {after} in {delay:.1f} s", err=True)
            await asyncio.sleep(delay)

    def _state(self, until: StreamStatus | None) -> str | None:
        if (terminal := self._output.terminal) is not None:
            return type(terminal).__name__.lower()
        if until is not None and self._output.records >= until.position:
            return until.state
        return None

    async def _attach(self, connection: Connection, until: StreamStatus | None) -> str | None:
        """Read on one connection; return the state if that was all, None after a cut."""
        answered = False
        async with contextlib.aclosing(connection.events(self.id, self._last_event_id)) as reads:
            async for events in reads:
                answered = self._attached = True
                try:
                    for event in events:
                        self._take(event)
                finally:
                    self._output.flush()
                if state := self._state(until):
                    return state
        # Without an answer it was a 204: the server has nothing more, though no end was among what came.
        return None if answered else (await connection.status(self.id)).state

    def _take(self, event: SSEEvent) -> None:
        try:
            if event.id:
                cursor.parse(event.id)
            self._output.take(decode_record(event.data))
        except (*NOT_JSON, InvalidCursor) as error:
            raise HeadraceError("the server sent a record that this version of headrace cannot read") from error
        self._last_event_id = event.id
        self._failures = 0


def _delay(failures: int, asked_s: float | None) -> float:
    """Doubled each time; the jitter keeps the readers of a restarted server from coming back all at once."""
    first = _FIRST_DELAY_S if asked_s is None else asked_s
    return min(first * 2 ** (failures - 1), _LONGEST_DELAY_S) * random.uniform(0.5, 1)


def _cursor(text: str | None, format: Format) -> Cursor | None:
    if text is None:
        return None
    try:
        found = cursor.parse(text)
        if found.version != RENDER_VERSION or found.code not in (NATIVE.code, DIALECTS[format].code):
            raise InvalidCursor("")
        if set(found.params) - set(BY_CODE[found.code].params):
            raise InvalidCursor("")
    except InvalidCursor:
        expected = f"{NATIVE.code}{RENDER_VERSION}.57"
        raise typer.BadParameter(
            f"{printable(text)!r} is no cursor of the native format, such as {expected}, or of {format}",
            param_hint="--from",
        ) from None
    return found
