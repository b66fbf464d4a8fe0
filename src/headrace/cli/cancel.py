"""`headrace cancel`: stop a stream from anywhere."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from headrace.cli.connection import DEFAULT_URL, Connection, KeyOption, StreamStatus, UrlOption, stream_id

app = typer.Typer(add_completion=False)

_EXAMPLES = """[bold]Examples[/]
headrace cancel chatcmpl-4f2c…
headrace cancel --idempotency-key order-17
HEADRACE_API_KEY=… headrace cancel 4f2c… --url https://llm.example.com"""


@app.command(epilog=_EXAMPLES)
def cancel(
    id: Annotated[
        str | None, typer.Argument(metavar="ID", show_default=False, help="The stream, as chatcmpl-… or bare.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Instead of the id: the key that the stream was created with."),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Stop a stream and print its state: cancelled, or finished or failed if it had already ended.

    The text so far stays readable. Stopping twice is safe.

    Exit code: 0 ended, 1 unknown, or the stop is not confirmed yet.
    """
    if (id is None) == (idempotency_key is None):
        raise typer.BadParameter("give the id of a stream or --idempotency-key, one of the two", param_hint="ID")
    bare = None if id is None else stream_id(id)
    status = asyncio.run(_cancel(url, api_key, bare, idempotency_key or ""))
    typer.echo(status.state)
    if status.state == "running":
        typer.echo("headrace: the stop was asked for and is not confirmed yet; ask again to see", err=True)
        raise typer.Exit(1)


async def _cancel(url: str, api_key: str | None, bare: str | None, idempotency_key: str) -> StreamStatus:
    async with Connection(url, api_key) as connection:
        if bare is None:
            return await connection.cancel_by_key(idempotency_key)
        return await connection.cancel(bare)
