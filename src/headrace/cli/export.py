"""`headrace export`: the whole log of a stream into a file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from headrace.cli.connection import DEFAULT_URL, Connection, KeyOption, UrlOption, stream_id
from headrace.codecs import NOT_JSON
from headrace.errors import HeadraceError

app = typer.Typer(add_completion=False)

_EXAMPLES = """[bold]Examples[/]
headrace export chatcmpl-4f2c… -o answer.ndjson
headrace export 4f2c… | jq -r '.events[]? | select(.type == "text.delta").text'
headrace export 4f2c… --partial       what there is of a stream that runs"""

_LONGEST_LAST_LINE = 64 * 1024
"""Bytes; it has a few numbers and names."""


@app.command(epilog=_EXAMPLES)
def export(
    id: Annotated[str, typer.Argument(metavar="ID", show_default=False, help="The stream, as chatcmpl-… or bare.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="A file, not stdout; only if whole."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take a stream that runs as far as it is.")] = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Write who asked what, every record with its time, how it ended and what it cost, one JSON object a line.

    The sum in the last line is checked. A file is written whole or not at all.

    Exit code: 0 all of it, 1 cut off, still running or not to be read.
    """
    bare = stream_id(id)
    with _sink(output) as sink:
        asyncio.run(_export(url, api_key, bare, partial, sink))


async def _export(url: str, api_key: str | None, bare: str, partial: bool, sink: IO[bytes]) -> None:
    check = _Check()
    async with (
        Connection(url, api_key) as connection,
        contextlib.aclosing(connection.export(bare, partial=partial)) as pieces,
    ):
        async for piece in pieces:
            check.take(piece)
            sink.write(piece)
    sink.flush()
    check.end()


class _Check:
    """Whether what came is whole: the last line has the sum of all before it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._line = b""

    def take(self, piece: bytes) -> None:
        """Note the next bytes."""
        data = self._line + piece
        begin = data.rfind(b"\n", 0, len(data) - 1) + 1
        if len(data) - begin > _LONGEST_LAST_LINE:
            begin = len(data)
        self._digest.update(data[:begin])
        self._line = data[begin:]

    def end(self) -> None:
        """That was all. Raises `HeadraceError` where it cannot have been."""
        try:
            last = msgspec.json.decode(self._line, type=_LastLine)
        except NOT_JSON:
            last = _LastLine()
        if not self._line.endswith(b"\n") or last.sha256 != self._digest.hexdigest():
            raise HeadraceError("the export is not whole: its last line is not there, or not that of what came")


class _LastLine(msgspec.Struct):
    sha256: str = ""


@contextlib.contextmanager
def _sink(output: Path | None) -> Generator[IO[bytes]]:
    """Where the bytes go: stdout, or a file beside the one that is wanted, which takes its place at the end."""
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as file:
            try:
                yield file
            except BaseException:
                os.unlink(file.name)
                raise
        os.replace(file.name, output)
    except OSError as error:
        raise HeadraceError(f"{output} cannot be written: {error.strerror}") from error
