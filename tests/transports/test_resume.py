"""Resume is exact: whatever was cut, the complete frames joined are one uninterrupted read."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.codecs.ndjson import NDJSONDecoder
from headrace.codecs.sse import SSEDecoder
from headrace.dialects import BY_CODE, DIALECTS, cursor
from headrace.dialects.base import Dialect
from headrace.dialects.cursor import Cursor
from headrace.engine.clock import FakeClock
from headrace.engine.subscription import Subscription
from headrace.events import RENDER_VERSION, Record
from headrace.stores.memory import MemoryStore
from headrace.transports.framing import NDJSON, SSE, Framing, PlainText
from headrace.transports.heartbeat import Heartbeats
from headrace.transports.http import StreamResponse
from headrace.transports.reader import Reader
from tests.engine.rig import KEEPALIVE, Connection
from tests.strategies import streams

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P4")]

STREAM = "s"
VIEWS = [
    ("native", "", "sse"),
    ("native", "", "ndjson"),
    ("openai.chat", "", "sse"),
    ("openai.chat", "u", "sse"),
    ("openai.chat", "", "ndjson"),
    ("openai.chat", "u", "ndjson"),
    ("text", "", "sse"),
    ("text", "", "ndjson"),
    ("text", "", "bytes"),
]


@dataclass
class Client:
    """What a reader has, and what it sends to go on: it knows bytes only."""

    dialect: Dialect
    params: str
    kind: str
    frames: list[tuple[str, bytes]] = field(default_factory=list)
    text: bytes = b""
    last_id: str = ""
    position: int = 0
    """Of a client without ids: complete data frames, or bytes of text."""

    def cursor(self) -> Cursor:
        if self.last_id:
            kept = cursor.parse(self.last_id)
            assert BY_CODE[kept.code] is self.dialect
            return kept
        return Cursor(self.dialect.code, RENDER_VERSION, self.params, self.position)

    def framing(self, at: Cursor) -> Framing:
        quote = self.dialect.name == "text"
        if self.kind == "bytes":
            return PlainText()
        return NDJSON(quote=quote) if self.kind == "ndjson" else SSE(ids=at.prefix, retry=True, quote=quote)

    def take(self, body: bytes) -> None:
        """Keep what is complete in the body of one connection."""
        if self.kind == "bytes":
            self.text += body
            self.position += len(body)
        elif self.kind == "ndjson":
            lines = NDJSONDecoder().feed(body)
            self.frames += [("", line) for line in lines]
            is_text = self.dialect.name == "text"
            self.position += sum(len(msgspec.json.decode(line).encode()) if is_text else 1 for line in lines)
        else:
            events = SSEDecoder().feed(body)
            self.frames += [(event.event, event.data) for event in events]
            self.last_id = events[-1].id if events else self.last_id

    @property
    def received(self) -> object:
        return self.text if self.kind == "bytes" else self.frames


@dataclass
class Plan:
    """Where connections are cut, in bytes of their bodies, and how the writing goes on meanwhile."""

    cuts: list[int]
    batches: list[int]
    """Records per append; 0 lets time pass instead, so that heartbeats come."""
    turns: list[int]
    """Turns of the event loop after each append."""


plans = st.builds(
    Plan,
    cuts=st.lists(st.integers(0, 300) | st.integers(0, 3000), max_size=6),
    batches=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    turns=st.lists(st.integers(0, 12), min_size=1, max_size=8),
)


class Log:
    """A store with one stream, written while it is read, or before."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.clock = FakeClock()
        self.store = MemoryStore(now=self.clock.wall, settling=0)
        # The writer may move the clock again and again between two turns of a reader, who would seem not to read.
        self.heartbeats = Heartbeats(self.clock, KEEPALIVE, write_timeout=1e9)
        self.readers = 0

    async def open(self) -> None:
        self.lease = await self.store.acquire(STREAM, "someone", b"", 1e9)

    async def write(self, plan: Plan) -> None:
        done, step = 0, 0
        last = len(self.records) - 1
        while done < last:
            size = plan.batches[step % len(plan.batches)]
            batch = self.records[done : min(done + size, last)]
            if batch:
                await self.store.append(self.lease, done, batch)
                done += len(batch)
            else:
                self.clock.advance(KEEPALIVE)
            for _ in range(plan.turns[step % len(plan.turns)]):
                await asyncio.sleep(0)
            step += 1
            if step % len(plan.batches) == 0 and not any(plan.batches):
                plan.batches.append(1)
        await self.store.finish(self.lease, self.records[-1])

    async def pack(self) -> None:
        """Let the store compress it."""
        while await self.store.tidy():
            pass

    async def connect(self, client: Client, cut_at: int | None) -> Connection | None:
        """One connection of the client; None when it is told that nothing is left (204)."""
        self.readers += 1
        at = client.cursor()
        reader = Reader(Subscription(self.store, STREAM, self._left), client.dialect, at)
        if not await reader.seek():
            reader.close()
            return None
        connection = Connection(cut_at=cut_at)
        await connection.serve(StreamResponse(reader, client.framing(at), self.heartbeats, headers={}))
        client.take(connection.body)
        return connection

    def _left(self) -> None:
        self.readers -= 1


def expected(client: Client, records: Sequence[Record]) -> object:
    """The fold itself, without any transport."""
    view = client.dialect.view(client.params)
    frames: list[Any] = [frame for record in records for frame in view.fold(record)]
    data = [view.encode(frame) for frame in frames]
    if client.kind == "bytes":
        return b"".join(data)
    if client.dialect.name == "text":
        data = [msgspec.json.encode(piece.decode()) for piece in data]
    elif client.kind == "ndjson":
        data = [b'"[DONE]"' if piece == b"[DONE]" else piece for piece in data]
    return [
        ("" if client.kind == "ndjson" else view.event(frame) or "", piece)
        for frame, piece in zip(frames, data, strict=True)
    ]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(records=streams(), view=st.sampled_from(VIEWS), plan=plans, how=st.sampled_from(["live", "ended", "packed"]))
async def test_frames_of_cut_connections_join_to_one_uninterrupted_read(
    records: list[Record], view: tuple[str, str, str], plan: Plan, how: str
) -> None:
    with anyio.fail_after(5):
        name, params, kind = view
        log = Log(records)
        await log.open()
        client = Client(DIALECTS[name], params, kind)
        terminal = records[-1].terminal
        assert terminal is not None
        clean = client.dialect.clean_end(terminal)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.heartbeats.run)
            if how == "live":
                tasks.start_soon(log.write, plan)
            else:
                await log.write(plan)
            if how == "packed":
                await log.pack()
            for cut_at in [*plan.cuts, None, None]:
                connection = await log.connect(client, cut_at)
                if connection is None:
                    break
                if not connection.gone.is_set():  # nobody cut it: it was read to the end
                    assert connection.clean is clean
            assert await log.connect(client, None) is None
            tasks.cancel_scope.cancel()
        assert client.received == expected(client, records)
        whole = Client(DIALECTS[name], params, kind)
        if client.received:
            assert await log.connect(whole, None) is not None
        assert whole.received == client.received
        assert log.readers == 0
        assert len(log.heartbeats) == 0


@settings(max_examples=60)
@given(records=streams())
async def test_a_reader_may_be_cut_at_every_byte(records: list[Record]) -> None:
    """Every cut of one body, for the frame in whose middle it falls."""
    with anyio.fail_after(10):
        log = Log([*records[:6], msgspec.structs.replace(records[-1], seq=6)] if len(records) > 6 else records)
        await log.open()
        await log.write(Plan([], [4], [0]))
        for name, params, kind in (("openai.chat", "u", "sse"), ("text", "", "bytes")):
            whole = Client(DIALECTS[name], params, kind)
            connection = await log.connect(whole, None)
            size = len(connection.body) if connection is not None else 0
            for cut_at in range(0, size + 1, max(1, size // 60)):
                client = Client(DIALECTS[name], params, kind)
                await log.connect(client, cut_at)
                await log.connect(client, None)
                assert client.received == whole.received
