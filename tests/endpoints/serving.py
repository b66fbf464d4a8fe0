"""The whole application in process, over a provider that does what a test says.

Requests are made at ASGI level: a test can read a body while it grows, leave, and see that a body was aborted.

    async with serving() as server:
        answer = await server.ask("POST", "/v1/chat/completions", CHAT)
        assert answer.status == 200 and server.provider.asked[0].model == "demo"
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import anyio
import anyio.abc
from starlette.types import ASGIApp

from headrace.app import create_app
from headrace.codecs.sse import SSEDecoder, SSEEvent
from headrace.config import ApiKey, Config, Model, Secret
from headrace.engine.clock import FakeClock
from headrace.events import ChoiceEnd, Chunk, ItemEnd, ItemStart, StepEnd, StepStart, TextDelta, Usage
from headrace.messages import Request
from headrace.providers import Factory
from headrace.stores.base import StreamStore

GUARD = 10
"""Seconds after which a test has hung; never a measure."""

CHAT = "/v1/chat/completions"
STREAMS = "/v1/streams"
ASKED: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
STREAMED: dict[str, Any] = {**ASKED, "stream": True}
SSE = {"accept": "text/event-stream"}
UNKNOWN = "0" * 32
FAR: dict[str, Any] = {"ttft_timeout": 86_400.0, "stream_idle_timeout": 86_400.0, "total_timeout": 86_400.0}
ALICE, BOB = "alice-s3cret-key", "bob-s3cret-key"
TWO_KEYS = (ApiKey("alice", Secret(ALICE)), ApiKey("bob", Secret(BOB)))

OPENING = Chunk((StepStart("scripted", "upstream-model", "openai.chat", "up-1"), ItemStart(0, "text")))
Step = list[Chunk] | anyio.Event | Exception


def text(*pieces: str) -> list[Chunk]:
    return [Chunk((TextDelta(0, piece),)) for piece in pieces]


ENDING = [Chunk((ItemEnd(0), ChoiceEnd(0, "stop"))), Chunk((StepEnd("stop", Usage(3, 2)),))]
HELLO: tuple[Step, ...] = ([OPENING], text("Hello", " wörld"), ENDING)


class ScriptedProvider:
    """Plays one script per request, the last one again and again: batches, events to wait for, an error to raise."""

    name = "scripted"

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = list(scripts) or [HELLO]
        self.asked: list[Request] = []
        self.closed = 0
        self.started = 0

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        self.asked.append(request)
        steps = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for step in steps:
                if isinstance(step, anyio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed += 1

    def check(self, request: Request) -> None: ...

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None: ...


LEAVE = b"\0leave"
"""As the last piece of a body: the client goes away instead of sending the rest."""


class Exchange:
    """One request and what has come back so far."""

    def __init__(self, app: ASGIApp, scope: dict[str, Any], pieces: Sequence[bytes]) -> None:
        self._app = app
        self.scope = scope
        self.unsent = list(pieces)
        self._left = anyio.Event()
        self._changed = anyio.Event()
        self.status = 0
        self.raw_headers: list[tuple[str, str]] = []
        self.body = b""
        self.complete = False
        self.over = False
        self.error: Exception | None = None

    async def run(self) -> None:
        try:
            await self._app(self.scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - what a server would log is looked at by the test
            self.error = error
        finally:
            self.over = True
            self._notify()

    async def _receive(self) -> dict[str, Any]:
        if self.unsent and self.unsent[0] is not LEAVE:
            piece = self.unsent.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.unsent)}
        if not self.unsent:
            await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        assert not self.complete, "nothing may follow the end of a body"
        if self._left.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.raw_headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        else:
            self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> Exchange:
        """Return when the condition holds after something has come, or when the exchange is over."""
        while not condition() and not self.over:
            await self._changed.wait()
        return self

    async def begun(self) -> Exchange:
        return await self.until(lambda: self.status != 0)

    async def has(self, piece: bytes) -> Exchange:
        return await self.until(lambda: piece in self.body)

    async def end(self) -> Exchange:
        return await self.until(lambda: False)

    async def leave(self) -> None:
        """The client closes its connection; returns when the application has noticed."""
        self._left.set()
        await self.end()

    @property
    def headers(self) -> dict[str, str]:
        """All but the id of the request, which is another one every time."""
        fields = dict(self.raw_headers)
        assert len(fields) == len(self.raw_headers), "a header was sent twice"
        request_id = fields.pop("x-request-id")
        assert request_id and fields.pop("request-id", request_id) == request_id
        return fields

    @property
    def request_id(self) -> str:
        return dict(self.raw_headers)["x-request-id"]

    @property
    def aborted(self) -> bool:
        """The body began and was not ended: on a socket, a chunked body without its last chunk."""
        return self.over and self.status != 0 and not self.complete

    @property
    def stream_id(self) -> str:
        return self.headers["headrace-stream-id"]

    def json(self) -> Any:
        return json.loads(self.body)

    def frames(self) -> list[SSEEvent]:
        return list(SSEDecoder().feed(self.body))

    def chunks(self) -> list[Any]:
        return [json.loads(frame.data) for frame in self.frames() if frame.data != b"[DONE]"]

    def error_fields(self) -> dict[str, Any]:
        return self.json()["error"]


@dataclass
class Server:
    """A running application."""

    app: ASGIApp
    provider: ScriptedProvider
    clock: FakeClock
    tasks: anyio.abc.TaskGroup
    key: str | None = None

    def begin(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str | bytes] | None = None,
        *,
        pieces: Sequence[bytes] | None = None,
        content_type: str | None = "application/json",
        key: str | None = None,
    ) -> Exchange:
        """Send a request. `body` is JSON, or bytes as they are; `pieces` instead has no Content-Length."""
        fields: dict[str, str | bytes] = {"host": "localhost:8000"}
        if body is not None or pieces is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            if content_type is not None:
                fields["content-type"] = content_type
            if pieces is None:
                fields["content-length"] = str(len(data))
                pieces = [data]
            else:
                fields["transfer-encoding"] = "chunked"
        if key or self.key:
            fields["authorization"] = f"Bearer {key or self.key}"
        exchange = Exchange(self.app, scope(method, target, fields | dict(headers or {})), pieces or [b""])
        self.tasks.start_soon(exchange.run)
        return exchange

    async def open(self, method: str, target: str, *args: Any, **options: Any) -> Exchange:
        """Send a request and wait for the head of its answer."""
        return await self.begin(method, target, *args, **options).begun()

    async def ask(self, method: str, target: str, *args: Any, **options: Any) -> Exchange:
        """Send a request and wait for its whole answer."""
        return await self.begin(method, target, *args, **options).end()

    async def stream(self, body: Any = STREAMED, **options: Any) -> Exchange:
        """A chat stream, read to its end."""
        return await self.ask("POST", CHAT, body, **options)


def scope(method: str, target: str, headers: Mapping[str, str | bytes]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    fields = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name, value) for name, value in fields if value != b"\0none"],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
    }


NO_HEADER = b"\0none"
"""As a header's value: leave out one that is sent by default."""


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[anyio.abc.TaskGroup]:
    """The application between its lifespan's start and end."""
    to_app, app_receives = anyio.create_memory_object_stream[dict[str, Any]](2)
    app_sends, from_app = anyio.create_memory_object_stream[Any](2)

    async def live() -> None:
        await app({"type": "lifespan", "asgi": {"version": "3.0"}}, app_receives.receive, app_sends.send)

    with to_app, app_receives, app_sends, from_app:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            await to_app.send({"type": "lifespan.startup"})
            assert (await from_app.receive())["type"] == "lifespan.startup.complete"
            yield tasks
            await to_app.send({"type": "lifespan.shutdown"})
            assert (await from_app.receive())["type"] == "lifespan.shutdown.complete"
            tasks.cancel_scope.cancel()


def configured(**settings: Any) -> Config:
    """One model, `demo`. Nothing waits for the clock, which only tests move: no retries, no drain."""
    model = Model(name="demo", upstream_model="upstream-model", retries=0, **FAR)
    return Config(**{"models": (model,), "drain_timeout": 0, **settings})


@asynccontextmanager
async def serving(
    *scripts: Sequence[Step],
    key: str | None = None,
    store: StreamStore | None = None,
    providers: Factory | None = None,
    **settings: Any,
) -> AsyncIterator[Server]:
    """`settings` are the configuration's; `key` is what requests carry unless they say otherwise."""
    provider = ScriptedProvider(*scripts)
    clock = FakeClock()
    app = create_app(configured(**settings), store=store, clock=clock, providers=providers or (lambda *_: provider))
    with anyio.fail_after(GUARD):
        async with running(app) as tasks:
            yield Server(app, provider, clock, tasks, key)
