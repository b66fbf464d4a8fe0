"""What can happen to a stream, as deeds of a test; how far the stream has come by then; what its readers see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import msgspec

from headrace.dialects import OPENAI_CHAT
from headrace.engine.engine import Started
from headrace.engine.subscription import Subscription
from headrace.errors import StoreError, UpstreamUnavailable
from headrace.events import ArgsDelta, Chunk, Failed, ItemStart, Record
from headrace.stores.base import Lease
from headrace.transports.framing import PlainText
from headrace.transports.http import AnswerResponse
from tests.engine.rig import OPENING, OWNER, Call, Connection, Rig, marker, settle, words
from tests.stores.waiting import WaitingStore

PAUSE = 60.0
"""Seconds between two tries, less up to a quarter: longer than anything that happens meanwhile takes."""
DEADLINE = 40.0
GRACE_S = 30.0
RENEWAL = 3.0
"""Seconds after which a relay whose log is gone notices it."""
LINGERING = 5.0
"""Seconds that an upstream may take to hand its connection back."""
LARGEST_LOG = 10_000

_CALL = [Chunk((ItemStart(1, "tool_call", name="look", call_id="c1"),)), Chunk((ArgsDelta(1, '{"at": "Z'),))]
SAID: dict[str, list[Chunk]] = {
    "queued": [],
    "unanswered": [],
    "between-tries": [],
    "after-role": [OPENING],
    "in-text": [OPENING, *words("a", "b")],
    "in-tool-call": [OPENING, *_CALL],
    "after-marker": [OPENING, *words("a", "b"), *marker()],
}
"""Each phase, and what the upstream has said by then.

`queued`: the stream is in the store, nobody has been asked. `after-marker`: the upstream has not handed its connection
back.
"""
MORE: dict[str, list[Chunk]] = {
    "queued": [OPENING, *words("c")],
    "unanswered": [OPENING, *words("c")],
    "between-tries": [OPENING, *words("c")],
    "after-role": words("c"),
    "in-text": words("c"),
    "in-tool-call": [Chunk((ArgsDelta(1, "ürich"),))],
}
"""What the upstream says next, if it comes to that."""

READERS = ("streamed", "whole", "openai.chat", "native", "text")
"""The POST that made the stream, whose headers are held; one that waits for the whole answer; and a GET per format."""


class FaultyStore(WaitingStore):
    """Fails the next call of the method that it is told, `late`: after it has done what it was asked."""

    failing = ""
    late = False

    def _fails(self, method: str) -> bool:
        fails = self.failing == method
        if fails:
            self.failing = ""
        return fails

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        fails = self._fails("append")
        if not fails or self.late:
            await super().append(lease, first_seq, records)
        if fails:
            raise StoreError("The store cannot be reached.")

    async def finish(self, lease: Lease, record: Record) -> None:
        fails = self._fails("finish")
        if not fails or self.late:
            await super().finish(lease, record)
        if fails:
            raise StoreError("The store cannot be reached.")


@dataclass
class Scene:
    """One stream and its readers."""

    rig: Rig
    store: FaultyStore
    started: Started
    phase: str
    readers: dict[str, Connection] = field(default_factory=lambda: {name: Connection() for name in READERS})

    @property
    def stream_id(self) -> str:
        return self.started.stream_id

    @property
    def call(self) -> Call:
        """The newest request to the upstream, or the one that will be the first."""
        return self.rig.provider.call(max(self.rig.provider.asked, 1) - 1)

    async def reach(self) -> None:
        """Let the stream come to its phase."""
        if self.phase == "queued":
            return
        await settle()
        if self.phase == "between-tries":
            self.call.fail(UpstreamUnavailable("Down."))
        elif SAID[self.phase]:
            self.call.say(SAID[self.phase])
        await settle()

    async def asks(self) -> None:
        """Let a stream that waits for its turn, or for its next try, come to it: there an upstream's fault strikes."""
        if self.phase == "between-tries":
            self.rig.clock.advance(PAUSE)
        await settle()

    async def passes(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)
        await settle()

    async def end_well(self) -> None:
        """The upstream says the rest and its marker, unless it has."""
        if self.phase != "after-marker":
            await self.asks()
            self.call.say(MORE[self.phase])
            self.call.finish()
        await settle()

    async def watched(self, tasks: anyio.abc.TaskGroup) -> None:
        """All readers are there while it happens."""
        for name, reader in self.readers.items():
            first = name == "streamed"
            subscription = self.started.subscription if first else await self._subscribe()
            tasks.start_soon(reader.serve, self._view(name, subscription))

    async def read_late(self) -> None:
        """All readers come when it is over."""
        for name, reader in self.readers.items():
            await reader.serve(self._view(name, await self._subscribe()))

    async def _subscribe(self) -> Subscription:
        return await self.rig.engine.subscribe(self.stream_id, OWNER)

    def _view(self, name: str, subscription: Subscription) -> Callable[..., Any]:
        match name:
            case "streamed":
                return self.rig.streamed(subscription, hold=1e6)
            case "whole":
                return AnswerResponse(subscription, OPENAI_CHAT, self.rig.heartbeats, headers={}, replayable=False)
            case "text":
                return self.rig.streamed(subscription, "text", PlainText())
            case _:
                return self.rig.streamed(subscription, name)


def seen(name: str, reader: Connection) -> str:
    """The end of a body in a few words: `503 code`, `200 [DONE] clean`, `200 error code aborted`."""
    assert reader.returned
    if reader.status != 200:
        assert reader.clean
        return _refusal(reader)
    how = "clean" if reader.clean else "aborted"
    if name == "whole":
        return f"200 {how}"
    if name == "text":
        return f"200 {reader.body.decode()!r} {how}"
    data = [line[6:] for line in reader.body.split(b"\n") if line.startswith(b"data: ")]
    return f"200 {_last_word(data[-1])} {how}" if data else f"200 {how}"


def _refusal(reader: Connection) -> str:
    error: dict[str, Any] = msgspec.json.decode(reader.body)["error"]
    said = [f"{reader.status} {error['code']}"]
    said += [f"{name}: {reader.headers[name]}" for name in ("retry-after", "x-should-retry") if name in reader.headers]
    said += [f"after {error['partial']!r}"] if "partial" in error else []
    return " ".join(said)


def _last_word(data: bytes) -> str:
    """What the last frame says, in either shape; `…` where it does not end the stream."""
    if data == b"[DONE]":
        return "[DONE]"
    frame: dict[str, Any] = msgspec.json.decode(data)
    if "error" in frame:
        return f"error {frame['error']['code']}"
    last: dict[str, Any] = frame.get("events", [{}])[-1]
    if last.get("type") in ("finished", "failed", "cancelled"):
        return f"{last['type']} {last.get('code') or last.get('reason') or last.get('by')}"
    return "…"


Deed = Callable[[Scene], Awaitable[None]]


def fails(error: BaseException) -> Deed:
    """The upstream, or its provider, fails so, as often as it is asked."""

    async def deed(scene: Scene) -> None:
        await scene.asks()
        for _ in range(3):
            scene.call.fail(error)
            await settle()
            await scene.passes(PAUSE)

    return deed


async def says_no_more(scene: Scene) -> None:
    """The provider returns without a marker."""
    await scene.asks()
    scene.call.stop()
    await settle()


async def is_silent(scene: Scene) -> None:
    await settle()
    await scene.passes(DEADLINE)


def loses(method: str, *, late: bool = False) -> Deed:
    """The store cannot be reached for one call; `late`: it has done it, and its answer was lost."""

    async def deed(scene: Scene) -> None:
        scene.store.failing, scene.store.late = method, late
        await scene.end_well()

    return deed


async def says_too_much(scene: Scene) -> None:
    await scene.asks()
    opening = [] if SAID[scene.phase] else [OPENING]
    scene.call.say([*opening, *words("x" * 2 * LARGEST_LOG)])
    await settle()


async def is_taken_over(scene: Scene) -> None:
    """This node stood still, its lease ran out, and another node has ended the stream."""
    await settle()
    scene.rig.clock._now += scene.rig.config.lease_seconds + 1  # pyright: ignore[reportPrivateUsage] - no timer ran
    scene.rig.made.discard(scene.stream_id)  # its end is told by the node that writes it
    lease = await scene.store.acquire(scene.stream_id, OWNER, b"", 10)
    lost = Failed("producer_lost", "The server that made this stream is gone.", retryable=True, status=503)
    await scene.store.finish(lease, Record(lease.next_seq, 0, (lost,)))
    await scene.passes(RENEWAL)


async def is_deleted(scene: Scene) -> None:
    """By another node: this one is not told."""
    await settle()
    await scene.store.delete(scene.stream_id)
    # A stream that has ended has no lease to lose.
    await scene.passes(LINGERING if scene.phase == "after-marker" else RENEWAL)


async def is_cancelled(scene: Scene) -> None:
    assert await scene.rig.engine.cancel(scene.stream_id, OWNER)


async def is_left(scene: Scene) -> None:
    """Its only reader goes, and nobody has come by the end of any grace."""
    scene.started.subscription.close()
    await settle()
    await scene.passes(GRACE_S)


async def is_left_and_goes_on(scene: Scene) -> None:
    await is_left(scene)
    await scene.end_well()


async def is_cut_at_shutdown(scene: Scene) -> None:
    await scene.rig.engine.drain(0)


async def is_drained(scene: Scene) -> None:
    """The server stops, and the stream ends within the time that it has for that."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.rig.engine.drain, 10 * PAUSE)
        await settle()
        await scene.end_well()
        await scene.passes(LINGERING)
