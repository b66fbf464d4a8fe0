"""Starts streams, lets readers attach, stops them; the only owner of tasks."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec

from headrace.bodies import Body
from headrace.config import Config
from headrace.engine.archiver import Archiver, Objects
from headrace.engine.clock import Clock
from headrace.engine.deadlines import tick_of
from headrace.engine.export import exported
from headrace.engine.folding import folded
from headrace.engine.idempotency import Claims, IdempotencyKey, claimed_stream
from headrace.engine.limits import RunningStreams, Slot
from headrace.engine.measurement import Measurement
from headrace.engine.observer import Observer, Observers
from headrace.engine.order import Order
from headrace.engine.patience import Signal, wait_within
from headrace.engine.readers import Readers
from headrace.engine.relay import Job, Relay
from headrace.engine.report import Reporter
from headrace.engine.subscription import BATCH, Subscription
from headrace.engine.unstored import Unstored
from headrace.errors import Fenced, HeadraceError, NotFound, Overloaded
from headrace.events import Answer, Cancelled, Failed, Record, StepStart, StreamStart
from headrace.policy.auth import owners_of
from headrace.stores.base import StreamInfo, StreamState, StreamStore
from headrace.transforms.estimate import input_tokens_of

log = logging.getLogger("headrace.engine")

CANCEL_WAIT = 5.0
"""Seconds that a cancel waits for another node's acknowledgement (P7)."""

LAST_READS = 3.0
"""Seconds after a drain's end in which readers get what they have not read; with the default of drain_timeout still
under the 30 s after which Kubernetes kills (P11)."""

TIDYING = 1.0
"""Seconds until the store is asked again whether there is something to tidy."""

SWEEPING = 1.0
"""Seconds between two looks at the streams that are not to be stored."""

LISTEN_AGAIN = 1.0
"""Seconds until cancel requests are listened for again after the store failed."""


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
        objects: Objects | None = None,
    ) -> None:
        """Nothing runs before `running` is entered. `objects`: where ended streams are archived."""
        self._config = config
        self._store = store
        self._clock = clock
        self._relays: dict[str, Relay] = {}
        self._running = RunningStreams(config.max_running_per_key)
        self._readers = Readers(config.max_readers_per_stream)
        self._claims = Claims(store)
        self._unstored = Unstored(store, self._claims, self._readers, clock)
        self._archiver = None if objects is None else Archiver(store, objects, clock, Observers(observers))
        self._observer = Observers(observers if self._archiver is None else (*observers, self._archiver))
        self._reporter = Reporter(store, clock, self._observer, log_content=config.log_content)
        self._telling: dict[str, Signal] = {}
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
                tasks.start_soon(self._renew_leases)
                tasks.start_soon(self._watch_deadlines)
                tasks.start_soon(self._tidy)
                tasks.start_soon(self._sweep)
                if self._archiver is not None:
                    tasks.start_soon(self._archiver.run, owners_of(self._config))
                try:
                    yield
                finally:
                    self._tasks = None
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._unstored.clear()

    @property
    def accepting(self) -> bool:
        """Whether new streams may start."""
        return self._tasks is not None and not self._draining

    async def drain(self, seconds: float, cut: anyio.Event | None = None) -> None:
        """Take no new streams, give those that run `seconds`, then end them as `server_shutdown` (P11).

        Returns when all have their terminal record, their readers have read it and they are archived, or these had
        `LAST_READS` to. Setting `cut` ends both waits at once. Reading and stopping go on meanwhile.
        """
        self._draining = True
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
        """
        if not self.accepting:
            raise _stopping()
        stream_id = secrets.token_hex(16)
        key = order.key
        if key is None:
            return await self._start(stream_id, order)
        with self._claims.opening(stream_id):
            # A claim outlives its stream: it is released with it, or found dead when somebody asks.
            ttl = order.route.settings.total_timeout + self._config.retention_seconds
            joined = await self._claims.take(key, stream_id, ttl, lambda held: self.subscribe(held, order.owner))
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
            await self._run(relay, order)
            raise _stopping()
        subscription = self._subscribe(stream_id)
        self._tasks.start_soon(self._run, relay, order)
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
        relay = Relay(job, lease, self._store, self._clock, slot, measurement)
        self._relays[stream_id] = relay
        try:
            await relay.open()
        except BaseException:  # nobody knows the stream yet, and nobody would ever end it
            del self._relays[stream_id]
            relay.ended.set()
            with anyio.CancelScope(shield=True):
                await self._store.delete(stream_id)
            raise
        if not request.stored:
            self._unstored.add(stream_id, order.policy, order.key)
        return relay

    async def _run(self, relay: Relay, order: Order) -> None:
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
                if order.key is not None:
                    await self._settle(relay, order.key)
                await self._reporter.tell(relay, order.request_id)
            del self._telling[relay.id]
            told.set()
            self._unstored.ended(relay.id)

    async def _settle(self, relay: Relay, key: IdempotencyKey) -> None:
        """Free the key of a stream that never said anything and may be asked again; keep it otherwise (P10)."""
        terminal = relay.terminal
        again = (isinstance(terminal, Failed) and terminal.retryable) or (
            isinstance(terminal, Cancelled) and terminal.by == "disconnect"
        )
        free = again and not relay.has_content
        await self._claims.settle(key, relay.id, None if free else self._config.retention_seconds)

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
            node has not confirmed within `CANCEL_WAIT`.
        """
        info = await self.info(stream_id, owner)
        relay = self._relays.get(stream_id)
        if relay is not None:
            relay.cancel(by)
            await relay.ended.wait()
            return True
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

    async def _renew_leases(self) -> None:
        """Keep the leases of streams that have nothing to say; a lost one ends its relay (P3)."""
        while True:
            await self._clock.sleep(self._config.lease_seconds * 0.3)
            for relay in tuple(self._relays.values()):
                if relay.terminal is not None:  # its lease ended with its log; its provider may still be closing
                    continue
                try:
                    await self._store.renew(relay.lease, self._config.lease_seconds)
                except (Fenced, NotFound) as error:
                    relay.fail(error)
                except HeadraceError as error:
                    log.warning("stream %s: its lease could not be renewed: %s", relay.id, error)

    async def _sweep(self) -> None:
        """One look at all streams that are not to be stored."""
        while True:
            await self._clock.sleep(SWEEPING)
            await self._unstored.sweep()

    async def _tidy(self) -> None:
        """Let the store do what can wait, a piece at a time: everybody else has a turn between two."""
        while True:
            try:
                if await self._store.tidy():
                    await anyio.lowlevel.checkpoint()
                    continue
            except HeadraceError as error:
                log.warning("the store could not be tidied: %s", error)
            except Exception:  # it would end every stream, and none of them needs this
                log.exception("defect in the store's tidying")
            await self._clock.sleep(TIDYING)


def _stopping() -> Overloaded:
    return Overloaded("The server is stopping; send the request again in a moment.", retry_after=1)
