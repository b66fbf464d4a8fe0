"""Starts streams, lets readers attach, stops them; the only owner of tasks."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec

from headrace.bodies import Body
from headrace.config import Config
from headrace.engine import housekeeping
from headrace.engine.archiver import Archiver, Objects
from headrace.engine.clock import Clock
from headrace.engine.deadlines import tick_of
from headrace.engine.export import exported
from headrace.engine.folding import folded
from headrace.engine.idempotency import Claims, IdempotencyKey, KeyTaken, claimed_stream
from headrace.engine.leases import Leases
from headrace.engine.limits import RunningStreams, Slot
from headrace.engine.log_writer import Outage
from headrace.engine.measurement import Measurement
from headrace.engine.observer import Observer, Observers, Source
from headrace.engine.order import Order, Router
from headrace.engine.outcomes import said_again
from headrace.engine.patience import Signal, wait_within
from headrace.engine.readers import Readers
from headrace.engine.relay import Job, Relay
from headrace.engine.report import Reporter, end_of
from headrace.engine.subscription import BATCH, Subscription
from headrace.engine.successor import Successor
from headrace.engine.takeover import Takeover
from headrace.engine.unstored import Unstored
from headrace.errors import HeadraceError, NotFound, Overloaded
from headrace.events import Answer, Record, StepStart, StreamStart
from headrace.policy.auth import owners_of
from headrace.stores.base import Lease, StreamInfo, StreamState, StreamStore
from headrace.transforms.estimate import input_tokens_of

log = logging.getLogger("headrace.engine")

CANCEL_WAIT = 5.0
"""Seconds that a cancel waits for another node's acknowledgement (P7)."""

LAST_READS = 3.0
"""Seconds after a drain's end in which readers get what they have not read; with the default of drain_timeout still
under the 30 s after which Kubernetes kills (P11)."""

LISTEN_AGAIN = 1.0
"""Seconds until cancel requests are listened for again after the store failed."""

_IDS = 20
"""Ids that are tried: with half of a store away, one of a million streams finds none."""


class Started(msgspec.Struct, frozen=True):
    """A stream and the caller's place in it. The subscription must be closed, whatever happens."""

    stream_id: str
    subscription: Subscription
    replayed: bool
    """True when an idempotency key led to a stream that an earlier request made."""


class Load(msgspec.Struct, frozen=True):
    """How much there is of everything that must go back to nothing."""

    streams: int
    requests: int
    """Upstream requests that are not closed."""
    readers: int
    slots: int
    archiving: int = 0
    """Ended streams that are not archived yet."""


class Engine:
    """The live part of one process."""

    def __init__(
        self,
        config: Config,
        store: StreamStore,
        clock: Clock,
        observers: Sequence[Observer] = (),
        router: Router | None = None,
        objects: Objects | None = None,
    ) -> None:
        """Nothing runs before `running` is entered.

        `router`: where streams go on that another node has lost. `objects`: where ended streams are archived.
        """
        self._config = config
        self._store = store
        self._clock = clock
        self._relays: dict[str, Relay] = {}
        self._running = RunningStreams(config.max_running_per_key)
        self._readers = Readers(config.max_readers_per_stream)
        self._claims = Claims(store, clock, config.lease_seconds)
        self._unstored = Unstored(store, self._claims, self._readers, clock)
        self._archiver = None if objects is None else Archiver(store, objects, clock, Observers(observers))
        self._observer = Observers(observers if self._archiver is None else (*observers, self._archiver))
        self._reporter = Reporter(store, self._observer, log_content=config.log_content)
        self._telling: dict[str, Signal] = {}
        self._outage = Outage(config.store_outage_buffer, config.store_outage_timeout, self._spawn)
        self._leases = Leases(store, clock, config.lease_seconds, self._relays)
        self._successor = Successor(store, router, self._adopt)
        self._takeover = Takeover(
            config.lease_seconds, store, clock, self._reporter, self._unstored, self._successor, self._relays
        )
        self._draining = False
        self._tasks: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The engine's life: all tasks run inside, and every stream has its terminal record when it ends."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._store.run)
                tasks.start_soon(self._serve_cancellations)
                tasks.start_soon(self._leases.run)
                tasks.start_soon(self._watch_deadlines)
                tasks.start_soon(housekeeping.tidy, self._store, self._clock)
                tasks.start_soon(housekeeping.sweep, self._unstored, self._clock)
                tasks.start_soon(self._takeover.run)
                if self._archiver is not None:
                    tasks.start_soon(self._archiver.run, owners_of(self._config))
                try:
                    yield
                finally:
                    self._tasks = None
                    for relay in tuple(self._relays.values()):
                        relay.shut_down()
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._unstored.clear()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(work)

    @property
    def refusal(self) -> HeadraceError | None:
        """Why no new stream may start; None while it may."""
        if self._tasks is None or self._draining:
            return _stopping()
        return self._store.problem

    async def drain(self, seconds: float, cut: anyio.Event | None = None) -> None:
        """Take no new streams, give those that run `seconds`, then end them as `server_shutdown` (P11).

        Returns when all have their terminal record, their readers have read it and they are archived, or these had
        `LAST_READS` to. Setting `cut` ends both waits at once. Reading and stopping go on meanwhile.
        """
        self._draining = True
        self._successor.retired = True
        if self._relays:
            log.info("stopping: %d streams still run, for %g s at most", len(self._relays), seconds)
        end = self._clock.monotonic() + seconds
        await wait_within(self._clock, seconds, self._all_ended, cut)
        for relay in tuple(self._relays.values()):
            relay.shut_down()
        await self._all_ended()
        await wait_within(self._clock, max(LAST_READS, end - self._clock.monotonic()), self._all_left, cut)

    async def _all_ended(self) -> None:
        for relay in tuple(self._relays.values()):
            await relay.ended.wait()

    async def _all_left(self) -> None:
        await self._readers.gone()
        if self._archiver is not None:
            for told in tuple(self._telling.values()):
                await told.wait()
            await self._archiver.idle()

    async def start(self, order: Order) -> Started:
        """Make a stream, or join the one that the order's idempotency key belongs to.

        Raises:
            IdempotencyKeyReused: the key came with another body.
            RateLimited: the owner has as many streams running as it may have (P24).
            Overloaded: no room for another stream, or the server is stopping.
            StoreUnavailable: the store is away.
        """
        refusal = self.refusal
        if refusal is not None:
            raise refusal
        while True:
            stream_id = self._new_id()
            if order.key is None:
                return await self._start(stream_id, order)
            try:
                return await self._start_once(stream_id, order, order.key)
            except KeyTaken:
                continue

    def _new_id(self) -> str:
        """One that nobody has. If part of the store is away, one that is kept in another, where that is found soon."""
        ids = (secrets.token_hex(16) for _ in itertools.count())
        return next(filter(self._store.serves, itertools.islice(ids, _IDS)), None) or next(ids)

    async def _start_once(self, stream_id: str, order: Order, key: IdempotencyKey) -> Started:
        """Make the stream of a key, or join it."""
        with self._claims.opening(stream_id):
            joined = await self._claims.take(key, stream_id, lambda held: self.subscribe(held, order.owner))
            if joined is not None:
                return Started(*joined, replayed=True)
            try:
                return await self._start(stream_id, order)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._claims.release(key, stream_id)
                raise

    async def _start(self, stream_id: str, order: Order) -> Started:
        slot = self._running.take(order.owner)
        try:
            relay = await self._open(stream_id, order, slot)
        except BaseException:
            slot.free()
            raise
        if self._tasks is None or self._draining:  # stopped meanwhile: the stream is in the store, so it needs its end
            relay.fail(_stopping())
            await self._run(relay, order.key, order.request_id)
            raise _stopping()
        subscription = self._subscribe(stream_id)
        self._tasks.start_soon(self._run, relay, order.key, order.request_id)
        return Started(stream_id, subscription, replayed=False)

    async def _open(self, stream_id: str, order: Order, slot: Slot) -> Relay:
        request, route = order.request, order.route
        measurement = Measurement(route.source, self._observer, self._clock.monotonic())
        lease = await self._store.acquire(stream_id, order.owner, request.kept, self._config.lease_seconds)
        start = StreamStart(
            id=stream_id,
            owner=order.owner,
            created=int(self._clock.wall()),
            model=request.model,
            dialect=request.dialect,
            params=request.params,
            input_tokens=input_tokens_of(request),
            meta=request.metadata,
            echo=request.echo,
        )
        job = Job(start, request, route.provider, route.upstream_model, order.policy, route.settings)
        relay = Relay(job, lease, self._store, self._clock, slot, measurement, self._outage)
        try:
            await self._enter(relay)
            if order.key is not None:
                # A claim outlives its stream: it is released with it, or found dead when somebody asks.
                ttl = route.settings.total_timeout + self._config.retention_seconds
                await self._claims.hold(order.key, stream_id, ttl)
        except BaseException:  # nobody knows the stream yet, and nobody would ever end it
            self._forget(relay)
            with anyio.CancelScope(shield=True):
                await self._store.delete(stream_id)
            raise
        if not request.stored:
            self._unstored.add(stream_id, order.policy, order.key)
        return relay

    async def _enter(self, relay: Relay) -> None:
        """Let a relay write its first record. If it cannot, it must be forgotten."""
        self._relays[relay.id] = relay
        await relay.open()

    def _forget(self, relay: Relay) -> None:
        del self._relays[relay.id]
        relay.ended.set()

    async def _adopt(self, job: Job, lease: Lease, source: Source) -> None:
        """See `successor.Adopt`."""
        if self._tasks is None or self._draining:  # since it was asked whether it stops
            raise _stopping()
        slot = self._running.take(job.start.owner)
        measurement = Measurement(source, self._observer, self._clock.monotonic(), continued=True)
        relay = Relay(job, lease, self._store, self._clock, slot, measurement, self._outage)
        try:
            await self._enter(relay)
        except BaseException:
            self._forget(relay)
            slot.free()
            raise
        self._tasks.start_soon(self._run, relay, None, None)

    async def _run(self, relay: Relay, key: IdempotencyKey | None, request_id: str | None) -> None:
        """One stream's task. What goes wrong here must not reach the task group: it would end every other stream."""
        try:
            await relay.run()
        except Exception:
            log.exception("stream %s: defect at its end", relay.id)
        finally:
            del self._relays[relay.id]
            told = self._telling[relay.id] = Signal()
            relay.slot.free()
            with anyio.CancelScope(shield=True):
                if not relay.given_up:
                    if key is not None:
                        free = said_again(relay.terminal) and not relay.has_content
                        await self._claims.settle(key, relay.id, None if free else self._config.retention_seconds)
                    await self._reporter.tell(end_of(relay, request_id, self._clock))
            del self._telling[relay.id]
            told.set()
            self._unstored.ended(relay.id)

    def _subscribe(self, stream_id: str) -> Subscription:
        relay = self._relays.get(stream_id)
        self._readers.enter(stream_id)

        def leave() -> None:
            self._readers.leave(stream_id)
            if relay is not None:
                relay.detach(subscription)
            self._unstored.left(stream_id)

        def resumed() -> None:
            if relay is not None and relay.terminal is None:
                relay.measurement.resumes += 1
            self._observer.resumed()

        subscription = Subscription(self._store, stream_id, leave, resumed, self._readers.shared(stream_id))
        if relay is not None:
            relay.attach(subscription)
        return subscription

    async def subscribe(self, stream_id: str, owner: str) -> Subscription:
        """Attach a reader at the start of the log.

        Raises:
            NotFound: there is no such stream, or it is another owner's (P32).
            Overloaded: it has `max_readers_per_stream` (P24).
        """
        await self.info(stream_id, owner)
        return self._subscribe(stream_id)

    async def info(self, stream_id: str, owner: str) -> StreamInfo:
        """What the store knows of the stream. Raises `NotFound`, for another owner's stream too."""
        info = await self._store.status(stream_id)
        if info.owner != owner:
            raise NotFound(f"There is no stream {stream_id}.")
        return info

    async def owner(self, stream_id: str) -> str:
        """Whose stream it is. Raises `NotFound`."""
        return (await self._store.status(stream_id)).owner

    @property
    def load(self) -> Load:
        """What runs on this node now."""
        return Load(
            streams=len(self._relays),
            requests=sum(relay.asking for relay in self._relays.values()),
            readers=self._readers.total,
            slots=self._running.total,
            archiving=0 if self._archiver is None else len(self._archiver),
        )

    def readers(self, stream_id: str) -> int:
        """Readers of the stream on this node."""
        return self._readers.of(stream_id)

    async def list(self, owner: str, state: StreamState | None, before: str | None, limit: int) -> Sequence[StreamInfo]:
        """The owner's streams, newest first."""
        return await self._store.list(owner, state, before, limit)

    async def first(self, stream_id: str) -> StreamStart:
        """Record 0's event."""
        records: Sequence[Record] = await self._store.read(stream_id, -1, 1)
        start = records[0].events[0] if records else None
        if not isinstance(start, StreamStart):
            raise NotFound(f"There is no stream {stream_id}.")
        return start

    async def beginning(self, stream_id: str) -> Record | None:
        """The record in which the first model server began to answer; None where none has."""
        for record in await self._store.read(stream_id, -1, BATCH):
            if any(isinstance(event, StepStart) for event in record.events):
                return record
        return None

    async def request(self, stream_id: str) -> Body:
        """The request as its caller sent it; empty for a stream that is not to be stored."""
        return await self._store.request(stream_id)

    async def exported(self, info: StreamInfo) -> AsyncGenerator[bytes]:
        """The log as lines: see `engine.export`."""
        return exported(self._store, info, await self._store.request(info.id))

    async def answer(self, stream_id: str) -> Answer:
        """The log so far as one answer."""
        answer = (await folded(self._store, stream_id)).answer()
        await anyio.lowlevel.checkpoint()  # joining a long one and what follows are two steps
        return answer

    async def cancel(self, stream_id: str, owner: str, by: str = "client") -> bool:
        """Stop a stream (P7). Idempotent; a stream that has ended stays as it ended.

        Returns:
            Whether the stream has ended: on this node its upstream's transport is closed by then. False when another
            node, or the store, has not confirmed within `CANCEL_WAIT`.
        """
        relay = self._relays.get(stream_id)
        if relay is not None and relay.owner == owner:  # also while the store is away: the upstream costs money
            relay.cancel(by)
            await wait_within(self._clock, CANCEL_WAIT, relay.ended.wait)
            if not (relay.ended.is_set and relay.written):
                return False
            if not relay.given_up:
                return True
            # It had been lost before, unnoticed: whoever has it now asks an upstream of its own.
        info = await self.info(stream_id, owner)
        if info.state != "running":
            return True
        await self._store.request_cancel(stream_id, by)
        with anyio.CancelScope() as scope:
            timer = self._clock.call_later(CANCEL_WAIT, scope.cancel)
            try:
                await self._wait_for_end(stream_id)
            finally:
                timer.cancel()
            return True
        return False

    async def _wait_for_end(self, stream_id: str) -> None:
        while (info := await self._store.status(stream_id)).state == "running":
            await self._store.wait(stream_id, info.next_seq - 1)

    async def cancel_by_key(self, owner: str, name: str) -> str:
        """Stop the stream that holds an idempotency key, named as by `claim_name`; returns its id.

        Raises:
            NotFound: no stream holds the key.
        """
        held = await self._store.claimed(name)
        if held is None:
            raise NotFound("No stream has this idempotency key.")
        stream_id, _ = claimed_stream(held)
        await self.cancel(stream_id, owner)
        return stream_id

    async def delete(self, stream_id: str, owner: str) -> None:
        """Remove the stream; a running one is cancelled first."""
        await self.cancel(stream_id, owner)
        await self._store.delete(stream_id)

    async def _serve_cancellations(self) -> None:
        """Carry out cancel requests that reached the store through another node."""
        while True:
            try:
                async for stream_id, by in self._store.cancellations():
                    relay = self._relays.get(stream_id)
                    if relay is not None:
                        relay.cancel(by)
            except HeadraceError as error:
                log.warning("cancel requests of other nodes cannot be read: %s", error)
                await self._clock.sleep(LISTEN_AGAIN)
            else:
                return  # the store was closed

    async def _watch_deadlines(self) -> None:
        """One look at all streams, many times per deadline (P20)."""
        tick = tick_of(self._config)
        while True:
            await self._clock.sleep(tick)
            now = self._clock.monotonic()
            for relay in tuple(self._relays.values()):
                relay.check_deadlines(now)


def _stopping() -> Overloaded:
    return Overloaded("The server is stopping; send the request again in a moment.", retry_after=1)
