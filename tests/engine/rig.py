"""An engine on a clock that stands still, a provider that does what the test says next, and readers at ASGI level."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from headrace.codecs.sse import HEARTBEAT
from headrace.config import Config, Disconnect
from headrace.config.schema import CallSettings
from headrace.dialects import DIALECTS
from headrace.engine.archiver import Objects
from headrace.engine.clock import FakeClock
from headrace.engine.engine import Engine, Load, Started
from headrace.engine.idempotency import IdempotencyKey
from headrace.engine.observer import Ended, Observer, Source
from headrace.engine.order import Order, Route
from headrace.engine.subscription import Subscription
from headrace.events import Chunk, Event, ItemStart, Record, StepEnd, StepStart, TextDelta, Usage
from headrace.messages import Message, Part, Request
from headrace.providers.base import Take
from headrace.stores.base import StreamStore
from headrace.stores.memory import MemoryStore
from headrace.transports.connection import DIRECT
from headrace.transports.framing import SSE, Framing
from headrace.transports.heartbeat import Heartbeats
from headrace.transports.http import StreamResponse
from headrace.transports.reader import Reader, start_of

OWNER = "someone"
CANCEL, CONTINUE, GRACE = Disconnect("cancel"), Disconnect("continue"), Disconnect("grace", 30.0)
KEEPALIVE = 16.0
SOURCE = Source("demo-*", "scripted")
REQUEST_ID = "request-1"
ONE_TRY = CallSettings(retries=0)
"""Retries wait for a clock that stands still; tests of them say how many."""
STANDING_TIMERS = 6
"""What a running engine always waits for: the leases' renewal, the store's tidying, the sweep of what is not stored,
the look for streams without a producer, the deadlines' and the heartbeats' wheels."""

FAR: dict[str, float] = {"ttft_timeout": 86_400.0, "stream_idle_timeout": 86_400.0, "total_timeout": 86_400.0}
"""Deadlines that no test reaches by chance; tests of them say their own."""

OPENING = Chunk((StepStart("scripted", "upstream-model", "openai.chat", "up-1"), ItemStart(0, "text")))


async def settle() -> None:
    """Let every other task run until all of them wait for something."""
    loop: Any = asyncio.get_running_loop()
    await asyncio.sleep(0)
    while loop._ready:  # noqa: ASYNC110 - there is no event for "nothing left to do"
        await asyncio.sleep(0)


def words(*texts: str) -> list[Chunk]:
    return [Chunk((TextDelta(0, text),)) for text in texts]


USAGE = Usage(3, 5)


def marker(finish: str = "stop", usage: Usage | None = USAGE) -> list[Chunk]:
    return [Chunk((StepEnd(finish, usage),))]


@dataclass
class Call:
    """One upstream request; what is put into it happens there, in order."""

    history: list[str]
    steps: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    gates: list[anyio.Event] = field(default_factory=list)
    """Waited for, one after the other, before the transport is closed."""
    raise_at_close: Exception | None = None
    ignores_close: bool = False

    def say(self, *batches: list[Chunk]) -> None:
        """Chunks arrive, one batch per read."""
        for batch in batches:
            self.steps.put_nowait(batch)

    def fail(self, error: BaseException) -> None:
        """The upstream, or the provider, fails."""
        self.steps.put_nowait(error)

    def stop(self) -> None:
        """The provider's generator ends."""
        self.steps.put_nowait(None)

    def finish(self, finish: str = "stop", usage: Usage | None = USAGE) -> None:
        """The terminal marker arrives and the provider returns."""
        self.say(marker(finish, usage))
        self.stop()

    async def run(self) -> AsyncGenerator[list[Chunk], None]:
        self.history.append("asked")
        try:
            while (step := await self.steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                for gate in self.gates:
                    await gate.wait()
            self.history.append("closed")
            if self.raise_at_close is not None:
                raise self.raise_at_close


class ScriptedProvider:
    """A `Provider` whose calls the test drives; `history` is the order of what happened."""

    name = "scripted"

    def __init__(self) -> None:
        self.history: list[str] = []
        self.asked = 0
        self.requests: list[Request] = []
        self._calls: list[Call] = []

    def call(self, index: int = 0) -> Call:
        while len(self._calls) <= index:
            self._calls.append(Call(self.history))
        return self._calls[index]

    def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        self.asked += 1
        self.requests.append(request)
        return self.call(self.asked - 1).run()

    def check(self, request: Request) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass
class Everywhere:
    """A `Router` that sends every model to one provider."""

    provider: ScriptedProvider
    settings: CallSettings

    def route(self, model: str) -> Route | None:
        return Route(self.provider, "upstream-model", self.settings, SOURCE)


class PushingProvider(ScriptedProvider):
    """The same as a `Pushing` provider; a test may also call `take` itself, as a socket does in any turn."""

    take: Take

    async def push(self, request: Request, model: str, take: Take) -> None:
        self.take = take
        async with aclosing(self.stream(request, model)) as batches:
            async for batch in batches:
                pending = take(batch)
                if pending is not None:
                    await pending


@dataclass
class Witness(Observer):
    """Keeps what it is told, in order."""

    ttfts: list[float] = field(default_factory=list[float])
    gaps: list[float] = field(default_factory=list[float])
    at_once: int = 0
    closings: list[float] = field(default_factory=list[float])
    resumes: int = 0
    ends: list[Ended] = field(default_factory=list[Ended])

    def first_content(self, source: Source, ttft: float) -> None:
        assert source == SOURCE
        self.ttfts.append(ttft)

    def content(self, source: Source, gaps: Sequence[float], at_once: int) -> None:
        assert source == SOURCE
        self.gaps += gaps
        self.at_once += at_once

    def upstream_closed(self, source: Source, seconds: float) -> None:
        assert source == SOURCE
        self.closings.append(seconds)

    def resumed(self) -> None:
        self.resumes += 1

    def ended(self, stream: Ended) -> None:
        assert stream.source == SOURCE
        self.ends.append(stream)


@dataclass
class Rig:
    """The parts of one node."""

    clock: FakeClock
    store: StreamStore
    provider: ScriptedProvider
    engine: Engine
    heartbeats: Heartbeats
    config: Config
    witness: Witness = field(default_factory=Witness)
    made: set[str] = field(default_factory=set[str])
    """Ids of the streams that `start` has given."""

    @property
    def call(self) -> Call:
        return self.provider.call(0)

    @property
    def history(self) -> list[str]:
        return self.provider.history

    async def start(
        self,
        policy: Disconnect = CONTINUE,
        *,
        key: str | None = None,
        body: bytes = b'{"n": 1}',
        params: str = "",
        owner: str = OWNER,
        stored: bool = True,
    ) -> Started:
        """A stream in the chat shape, with its first reader."""
        asked = order(self.provider, policy, key=key, body=body, params=params, owner=owner, settings=self.config)
        if not stored:
            asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, stored=False))
        started = await self.engine.start(asked)
        self.made.add(started.stream_id)
        return started

    async def records(self, stream_id: str) -> Sequence[Record]:
        return await self.store.read(stream_id, -1, 100_000)

    def timers(self) -> int:
        """Timers beyond those that a running engine always has."""
        return self.clock.pending - STANDING_TIMERS

    def streamed(
        self,
        subscription: Subscription,
        format: str = "openai.chat",
        framing: Framing | None = None,
        *,
        params: str = "",
        hold: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> StreamResponse:
        """A view of the stream from its start as an ASGI response."""
        dialect = DIALECTS[format]
        at = start_of(dialect, params)
        return StreamResponse(
            Reader(subscription, dialect, at),
            framing or SSE(ids=at.prefix, quote=format == "text"),
            self.heartbeats,
            headers=headers or {"headrace-stream-id": subscription.stream_id},
            hold=hold,
        )


def order(
    provider: ScriptedProvider,
    policy: Disconnect = CONTINUE,
    *,
    key: str | None = None,
    body: bytes = b'{"n": 1}',
    params: str = "",
    owner: str = OWNER,
    settings: CallSettings = ONE_TRY,
) -> Order:
    request = Request(
        dialect="openai.chat",
        model="demo",
        messages=(Message("user", (Part("text", "12345678"),)),),
        stream=True,
        params=params,
        body=body,
    )
    claim = None if key is None else IdempotencyKey.of(owner, "/v1/chat/completions", key, body)
    route = Route(provider, "upstream-model", settings, SOURCE)
    return Order(request=request, owner=owner, policy=policy, route=route, key=claim, request_id=REQUEST_ID)


def memory_store(clock: FakeClock, **limits: Any) -> MemoryStore:
    return MemoryStore(now=clock.wall, **limits)


@asynccontextmanager
async def node(
    store: StreamStore | None = None,
    clock: FakeClock | None = None,
    *,
    drain: bool = True,
    provider: ScriptedProvider | None = None,
    observers: Sequence[Observer] = (),
    objects: Objects | None = None,
    **config: Any,
) -> AsyncIterator[Rig]:
    """A running engine. At the end nothing may be left: no relay, reader, heartbeat or timer, nor a provider's call.

    Every stream's end must have been told, once. `observers` are told before the witness; `drain=False` is for tests
    that leave a stream running.
    """
    clock = clock or FakeClock()
    settings = Config(**{"keepalive_seconds": KEEPALIVE, "retries": 0, **FAR, **config})
    store = store or memory_store(clock, retention=settings.retention_seconds)
    witness = Witness()
    provider = provider or ScriptedProvider()
    engine = Engine(settings, store, clock, (*observers, witness), Everywhere(provider, settings), objects)
    heartbeats = Heartbeats(clock, KEEPALIVE, settings.write_timeout)
    rig = Rig(clock, store, provider, engine, heartbeats, settings, witness)
    others = clock.pending
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rig.heartbeats.run)
        async with engine.running():
            await settle()
            yield rig
            await settle()
            if drain:
                assert not relays(engine), "a relay still runs"
                assert clock.pending == others + STANDING_TIMERS, "a timer is left"
        tasks.cancel_scope.cancel()
    await settle()
    assert not relays(engine), "a relay is left"
    assert not engine._readers, "a reader is left"  # pyright: ignore[reportPrivateUsage]
    assert not engine._claims._opening  # pyright: ignore[reportPrivateUsage]
    assert not engine._unstored  # pyright: ignore[reportPrivateUsage]
    assert engine.load == Load(0, 0, 0, 0), "something is left"
    told = [stream.start.id for stream in witness.ends]
    assert len(told) == len(set(told)), "an end was told twice"
    assert rig.made <= set(told), "an end was not told"
    assert len(rig.heartbeats) == 0, "a heartbeat is left"
    assert clock.pending == others, "a timer is left"
    assert rig.history.count("asked") == rig.history.count("closed"), "an upstream is left open"


def relays(engine: Engine) -> dict[str, Any]:
    return engine._relays  # pyright: ignore[reportPrivateUsage]


def terminals(records: Sequence[Record]) -> list[Event]:
    """Every terminal event anywhere in a log."""
    return [event for record in records for event in record.events if type(event).__name__ in _TERMINALS]


_TERMINALS = ("Finished", "Failed", "Cancelled")


async def read_all(subscription: Subscription) -> list[Record]:
    """Read to the terminal record, then leave."""
    found: list[Record] = []
    with subscription:
        while records := await subscription.next():
            found += records
    return found


class Connection:
    """The server's side of one HTTP connection, as strict as uvicorn: what the application sends, and when it ends."""

    offers_direct = False
    """Whether its server also offers to write without ASGI's messages."""

    def __init__(self, *, cut_at: int | None = None, stalled: bool = False) -> None:
        """`cut_at`: the client is gone once it has that many bytes of the body. `stalled`: it reads nothing."""
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.writes: list[bytes] = []
        self.clean = False
        """Whether the body's end was sent: only then does the client see a complete answer."""
        self.returned = False
        self.gone = anyio.Event()
        self._cut_at = cut_at
        self._reading = anyio.Event()
        if not stalled:
            self._reading.set()
        self._sending = False
        self.stall_at_the_end = False
        """Whether the last message waits for ever, as a server's does behind a large write."""
        self.extensions: dict[str, Any] = {}
        """What the server offers beyond ASGI."""
        if self.offers_direct:
            self.extensions[DIRECT] = self
        self._held: list[bytes] = []
        """Written, and not taken by the client yet."""
        self.directly = 0
        """Writes that were no message."""

    @property
    def aborted(self) -> bool:
        return self.returned and not self.clean

    def resume(self) -> None:
        self._reading.set()
        self._take_held()

    @property
    def paused(self) -> bool:
        return bool(self._held)

    def write(self, body: bytes) -> bool:
        assert not self._sending, "two sends at once"
        assert self.status is not None and not self.clean
        assert sum(map(len, self._held)) <= len(HEARTBEAT), "it was told to wait"
        self.directly += 1
        self._held.append(body)
        if self._reading.is_set():
            self._take_held()
        return not self.paused

    def watch(self, gone: Callable[[], object]) -> bool:
        return False

    def _take_held(self) -> None:
        held, self._held = self._held, []
        for body in held:
            self._take(body)

    def _take(self, body: bytes) -> None:
        if self.gone.is_set():
            return
        self.body += body
        self.writes.append(body)
        if self._cut_at is not None and len(self.body) >= self._cut_at:
            self.body = self.body[: self._cut_at]
            self.gone.set()

    def stall(self) -> None:
        """From now on the client reads nothing: the next message waits."""
        if self._reading.is_set():
            self._reading = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        assert not self._sending, "two sends at once"
        assert not self.clean, "a message after the end of the body"
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        assert self.status is not None
        self._sending = True
        try:
            await self._reading.wait()
            if self.stall_at_the_end and not message.get("more_body"):
                await anyio.sleep_forever()
        finally:
            self._sending = False
        self._take(message.get("body", b""))
        if not self.gone.is_set() and not message.get("more_body", False):
            self.clean = True

    async def serve(self, app: Callable[..., Any]) -> None:
        """Run the application to its return."""
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "extensions": self.extensions}
        await app(scope, self.receive, self.send)
        self.returned = True
