"""Target: the whole application, in process, over a model that answers at once."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp

from headrace.app import create_app
from headrace.engine.clock import FakeClock
from tests.endpoints.serving import (
    ALICE,
    LEAVE,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    ScriptedProvider,
    configured,
    running,
    scope,
)
from tests.fuzz.inputs import cut, head_and_body, parted

NEXT = b"\n===\n"
"""Between two requests of one input."""
_PATIENCE_S = 20
_MOST = 5
_TYPES = {"application/json", "application/x-ndjson", "text/event-stream", "text/plain"}


def application(data: bytes) -> None:
    """Any requests, one after the other, get answers that are not our failure, or refusals that are valid errors.

    `ID` in a target stands for the stream that was made last.
    """
    (options,), text = parted(data, 1)
    app = create_app(
        configured(api_keys=TWO_KEYS if options & 1 else ()),
        clock=FakeClock(),
        providers=lambda *_: ScriptedProvider(),
    )
    for exchange in asyncio.run(_ask(app, options, text.split(NEXT)[:_MOST])):
        assert exchange.error is None, exchange.error
        assert 200 <= exchange.status < 500, (exchange.status, exchange.body)
        _check_body(exchange)


async def _ask(app: ASGIApp, options: int, requests: list[bytes]) -> list[Exchange]:
    exchanges: list[Exchange] = []
    stream_id = UNKNOWN
    async with asyncio.timeout(_PATIENCE_S), running(app) as tasks:
        for request in requests:
            exchanges.append(_exchange(app, request.replace(b"ID", stream_id.encode()), options))
            tasks.start_soon(exchanges[-1].run)
            answered = await exchanges[-1].end()
            stream_id = dict(answered.raw_headers).get("headrace-stream-id", stream_id)
    return exchanges


def _exchange(app: ASGIApp, request: bytes, options: int) -> Exchange:
    first, headers, body = head_and_body(request)
    method, _, target = first.partition(" ")
    fields = {"host": "localhost:8000", "content-type": "application/json", "content-length": str(len(body))}
    fields |= {"authorization": f"Bearer {ALICE}"} | dict(headers)
    asked = scope(method, target.strip(), {name: value.encode("latin-1") for name, value in fields.items()})
    # A client that waits for an answer before it has sent its body waits for ever; one that leaves gets none.
    pieces = [*cut(body, options), b""] if options & 2 else [body]
    return Exchange(app, asked, [piece for piece in pieces if piece is not LEAVE])


def _check_body(exchange: Exchange) -> None:
    headers = dict(exchange.raw_headers)
    assert all(name.isascii() and value.isprintable() for name, value in headers.items())
    if exchange.scope["method"] == "HEAD" or not exchange.body:
        return
    assert headers["content-type"].partition(";")[0] in _TYPES
    if exchange.status >= 400:
        error = json.loads(exchange.body)["error"]
        assert error["code"] and error["message"]
        assert isinstance(error["retryable"], bool)
