"""One running stream: the only owner of its upstream, and the only writer of its log."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

import anyio
import msgspec

from headrace.config import Disconnect
from headrace.config.schema import CallSettings
from headrace.engine.backpressure import Backpressure
from headrace.engine.clock import Clock, Timer
from headrace.engine.deadlines import Deadlines
from headrace.engine.limits import Slot
from headrace.engine.log_writer import LogWriter, Outage
from headrace.engine.measurement import Measurement
from headrace.engine.outcomes import defect, failure, shutdown
from headrace.engine.patience import Signal
from headrace.engine.retry import Backoff
from headrace.engine.subscription import Subscription
from headrace.engine.usage import counted
from headrace.errors import Fenced, HeadraceError, InternalError, LogFull, NotFound, StoreUnavailable
from headrace.events import (
    Cancelled,
    Chunk,
    Event,
    Finished,
    Status,
    StepEnd,
    StreamStart,
    Terminal,
    Usage,
)
from headrace.messages import Request
from headrace.providers.base import Provider, Pushing
from headrace.stores.base import Lease, StreamStore

log = logging.getLogger("headrace.relay")

LINGER = 5.0
"""Seconds after the marker that a provider may take to hand its connection back."""

LAST_TRIES = 300.0
"""Seconds for which the end of a stream waits for a store that is away, its upstream closed: nobody else knows why it
ended. One that is not written then is ended by whoever finds it without a lease, as `producer_lost`."""

STOPPING = 5.0
"""The same on a server that stops."""


class Job(msgspec.Struct, frozen=True):
    """What one relay has to do."""

    start: StreamStart
    request: Request
    provider: Provider
    upstream_model: str
    policy: Disconnect
    settings: CallSettings
    """Deadlines and retries."""
    opening: tuple[Event, ...] = ()
    """What is written before the upstream is asked; nothing: record 0, because the stream is new."""


class Relay:
    """Pulls the model and appends; whatever happens, the log ends with one terminal record (P3)."""

    __slots__ = (
        "_answered",
        "_backpressure",
        "_clock",
        "_deadlines",
        "_grace",
        "_linger",
        "_readers",
        "_reported",
        "_scope",
        "_stopped",
        "_stopping",
        "_store",
        "_writer",
        "asking",
        "ended",
        "given_up",
        "has_content",
        "id",
        "job",
        "lease",
        "measurement",
        "owner",
        "slot",
        "terminal",
        "usage",
        "written",
    )

    def __init__(
        self,
        job: Job,
        lease: Lease,
        store: StreamStore,
        clock: Clock,
        slot: Slot,
        measurement: Measurement,
        outage: Outage,
    ) -> None:
        """`slot` is freed with the log's end."""
        self.id = job.start.id
        self.owner = job.start.owner
        self.job = job
        self.lease = lease
        self.slot = slot
        self.measurement = measurement
        self.asking = False
        """Whether an upstream has this stream's request and has not been closed."""
        self.has_content = False
        """Whether a reader may have seen something of the answer."""
        self.terminal: Terminal | None = None
        self.given_up = False
        """Whether another producer has the stream, or will have it: its end is not this relay's to tell."""
        self.ended = Signal()
        """Set when the upstream is closed and the terminal record is in the store, or will not be."""
        self.written = True
        """False once the store could not take the terminal record."""
        self._store = store
        self._clock = clock
        self._writer = LogWriter(store, lease, clock, outage, self.fail)
        self._stopping = False
        self._deadlines = Deadlines(job.settings, measurement)
        self._backpressure = _backpressure(job.settings, clock)
        self._answered = False
        """Whether an upstream has said anything but an error."""
        self._scope = anyio.CancelScope()
        self._stopped: Terminal | None = None
        self.usage: Usage | None = None
        """The totals, known just before the terminal record is written."""
        self._reported: Usage | None = None
        self._readers = 0
        self._grace: Timer | None = None
        self._linger: Timer | None = None

    @property
    def records(self) -> int:
        """How many the log has by this relay's hand."""
        return self._writer.next_seq

    async def open(self) -> None:
        """Write what the job begins with: from now on the stream can be read, and nobody else writes it."""
        await self._writer.open([Chunk(self.job.opening or (self.job.start,))])

    async def run(self) -> None:
        """The task of the stream. Never raises, except for the cancellation of its task group."""
        terminal: Terminal | None = None
        try:
            with self._scope:
                if self._stopped is None:  # cancelled before the task's first turn: the upstream is not asked at all
                    await self._pull()
        except HeadraceError as error:
            terminal = failure(error)
        except anyio.get_cancelled_exc_class():
            # One that nobody here asked for, such as a task of the provider's own that was cancelled. Let through, it
            # would end the task group, and with it every other stream.
            if anyio.current_effective_deadline() == -math.inf:
                raise
            log.exception("stream %s: cancelled from inside the provider", self.id)
            terminal = defect()
        except Exception:  # the task boundary: a defect becomes a terminal record, not a silent stream
            log.exception("stream %s: defect in the relay", self.id)
            terminal = defect()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close(self._stopped or terminal or shutdown())

    async def _pull(self) -> None:
        """Ask the upstream until it answers or there is nothing more to try (P21).

        What is in the log stays there, so a request is repeated only while nothing of an answer is: not even the frame
        with the role, which readers have seen and a second one would follow.
        """
        backoff = Backoff.of(self.job.settings)
        attempt = 0
        while True:
            try:
                return await self._attempt()
            except HeadraceError as error:
                left = self._deadlines.left(self._clock.monotonic())
                wait = None if self._answered else backoff.wait(error, attempt, random.random(), left)
                if wait is None:
                    raise
                failed = error
            attempt += 1
            self.measurement.retries = attempt
            log.info("stream %s: %s, try %d of %d", self.id, failed.error_code, attempt + 1, backoff.retries + 1)
            text = f"{failed.message} Retry {attempt} of {backoff.retries} in {wait:.1f} s."
            await self._append([Chunk((Status("retrying", text),))])
            await self._clock.sleep(wait)

    async def _attempt(self) -> None:
        provider, request, model = self.job.provider, self.job.request, self.job.upstream_model
        self.asking = True
        try:
            if hasattr(provider, "push"):  # isinstance of a protocol takes 20 µs
                await cast("Pushing", provider).push(request, model, self._take)
            else:
                await self._iterate(provider.stream(request, model))
        finally:
            self.asking = False
        if self.terminal is None:
            raise InternalError("The provider stopped without saying how.")

    async def _iterate(self, chunks: AsyncGenerator[list[Chunk], None]) -> None:
        async with aclosing(chunks):
            async for batch in chunks:
                pending = self._take(batch)
                if pending is not None:
                    await pending

    def _take(self, batch: Sequence[Chunk]) -> Coroutine[Any, Any, None] | None:
        """What one read of the upstream brought; gives back what has to be done before the next read.

        Not a coroutine, because most batches are done when it returns: this is called for every token.
        """
        if self._stopped is not None:  # this task has been cancelled and has not run since
            return None
        if not batch:
            return None
        self._answered = True
        says = self.measurement.note(batch, self._clock.monotonic())
        pending = self._writer.write(batch)
        if pending is not None:
            return self._take_waiting(pending, batch[-1], says)
        self.has_content |= says
        return self._after(batch[-1])

    async def _take_waiting(self, pending: Coroutine[Any, Any, None], last: Chunk, says: bool) -> None:
        await pending
        self.has_content |= says
        more = self._after(last)
        if more is not None:
            await more

    def _after(self, last: Chunk) -> Coroutine[Any, Any, None] | None:
        """What has to be done once a batch that ends so is in the log."""
        events = last.events
        if events and type(events[-1]) is StepEnd:  # the marker; a provider sends nothing after it
            return self._end(events[-1])
        if self._backpressure is not None and self._backpressure.holds(self._writer.next_seq):
            return self._relieve(self._backpressure)
        return None

    async def _end(self, step: StepEnd) -> None:
        """The marker ends the stream (P6); the provider may still hand its connection back."""
        self._reported = step.usage
        with anyio.CancelScope(shield=True):
            await self._finish(Finished(step.finish))
        self._linger = self._clock.call_later(LINGER, self._scope.cancel)

    async def _relieve(self, backpressure: Backpressure) -> None:
        """Do not read on while readers are too far behind (P23)."""
        self._deadlines.paused = True
        try:
            self.measurement.paused(await backpressure.relieve(self._writer.next_seq))
        finally:
            self._deadlines.paused = False

    async def _append(self, batch: Sequence[Chunk]) -> None:
        pending = self._writer.write(batch)
        if pending is not None:
            await pending

    async def _close(self, terminal: Terminal) -> None:
        """Write the terminal record unless the marker already did, and let everybody know."""
        try:
            if self.terminal is None:
                with suppress(LogFull):  # the end fits in any case
                    await self._writer.insist(self._writer.flush, self._patience)
                await self._finish(terminal)
        except (Fenced, NotFound) as error:
            self.given_up = isinstance(error, Fenced)
            log.info("stream %s: taken over or deleted while it ran", self.id)
        except HeadraceError as error:
            self.written = False
            self.given_up = isinstance(error, StoreUnavailable)
            log.error("stream %s: the terminal record could not be written: %s", self.id, error)
        finally:
            self.terminal = self.terminal or terminal
            self.measurement.tell()
            self.slot.free()
            self._writer.stop()
            self._cancel_grace()
            if self._linger is not None:
                self._linger.cancel()
            if isinstance(self.terminal, Cancelled):
                self.measurement.stopped(self._clock.monotonic())
            self.ended.set()

    async def _finish(self, terminal: Terminal) -> None:
        """Close the log."""
        await self._writer.insist(lambda: self._conclude(terminal), self._patience)
        self.terminal = terminal
        self.measurement.ended = self._clock.monotonic()
        self.slot.free()  # not only when the upstream has closed: whoever saw the end may ask again

    async def _conclude(self, terminal: Terminal) -> None:
        """Write all that there is. An upstream that reported no usage gets counts that say whose they are (P27)."""
        await self._writer.flush()
        events: tuple[Event, ...] = (terminal,)
        usage = self._reported
        if usage is None:
            usage = await counted(self._store, self.job.start, terminal)
            events = (usage, terminal)
        self.usage = usage
        await self._writer.finish(events)

    def cancel(self, by: str) -> None:
        """Stop pulling; `ended` is set once the upstream's transport is closed and the log says so. Idempotent."""
        if self.terminal is None:
            self.measurement.told_to_stop(self._clock.monotonic())
        self._stop(Cancelled(by))

    def fail(self, error: HeadraceError) -> None:
        """Stop pulling because of something outside the upstream."""
        self._stop(failure(error))

    def shut_down(self) -> None:
        """Stop pulling because the server stops, and do not wait long for a store that is away."""
        self._stopping = True
        self._stop(shutdown())

    def _patience(self) -> float:
        return STOPPING if self._stopping else LAST_TRIES

    def check_deadlines(self, now: float) -> None:
        """End a stream whose upstream takes too long (P20); `now` is monotonic."""
        if self.terminal is not None or self._stopped is not None:
            return
        error = self._deadlines.passed(now)
        if error is not None:
            self.fail(error)

    def _stop(self, terminal: Terminal) -> None:
        if self._stopped is None and self.terminal is None:
            self._stopped = terminal
        self._scope.cancel()  # also after the marker: whoever waits for `ended` does not wait for a lingering upstream

    def attach(self, reader: Subscription) -> None:
        """A reader came: whatever clock its predecessor started stops."""
        self._readers += 1
        if self.terminal is None:
            self.measurement.readers += 1
        self._cancel_grace()
        if self._backpressure is not None:
            reader.on_taken = self._backpressure.moved
            self._backpressure.enter(reader, self._writer.next_seq)

    def detach(self, reader: Subscription) -> None:
        """A reader left; the last one's leaving is judged by the policy (P8)."""
        self._readers -= 1
        if self._backpressure is not None:
            self._backpressure.leave(reader)
        if self._readers or self.terminal is not None:
            return
        policy = self.job.policy
        if policy.mode == "cancel":
            self.cancel("disconnect")
        elif policy.mode == "grace":
            self._grace = self._clock.call_later(policy.seconds, lambda: self.cancel("disconnect"))

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


def _backpressure(settings: CallSettings, clock: Clock) -> Backpressure | None:
    if settings.backpressure == "none":
        return None
    return Backpressure(clock, settings.pause_lag, settings.pause_timeout)
