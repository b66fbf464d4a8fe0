"""One stream, from the request that makes it to the last look at it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from typing import Any, Final, Protocol

from benchmarks.soak.checks import check
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.meters import held_end
from benchmarks.soak.plan import Plan, Reading
from benchmarks.soak.reader import Reader
from benchmarks.soak.servers import LATE_S, RETENTION_S, WRITE_TIMEOUT_S, Server
from benchmarks.soak.wire import Exchange, Request, ask, begin, over

_POLL_S: Final = 2.5
_STUCK_AFTER_END_S: Final = 8.0
"""A reader that does not read, of a stream that has ended, and was not cut off by then, had enough in the buffers."""
_TRIES: Final = 50
_AGAIN_S: Final = 0.1


class World(Protocol):
    """What all streams share."""

    server: Server
    ledger: Ledger
    running: asyncio.Semaphore


class Life:
    """One stream of the soak."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.plan = plan
        self.ledger = world.ledger
        self.server = world.server
        self.address = world.server.address
        self.id = ""
        self.deleted = False
        self.left_after_s: float | None = None
        """When the last reader left for good, from the request."""
        self.answer: Exchange | None = None
        """Of a request that does not stream."""
        self.readers: list[Reader] = []
        self.made: list[tuple[str, bool]] = []
        """The stream's id in the answer of each request, and whether it was called a replay."""
        self._world = world
        self._began = time.monotonic()
        self._known = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended_at = 0.0

    async def run(self) -> None:
        """Live and be checked; whatever goes wrong is a violation."""
        try:
            await self._live()
            await check(self)
        except Exception:  # noqa: BLE001 - a mistake of the soak, or a server that is gone: the run goes on and says so
            self.report("the soak itself failed", traceback.format_exc())
        finally:
            self._note_end()
            self.ledger.checked += 1

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_to_its_end())
            for reading in self.plan.observers:
                if reading.outlasts:
                    tasks.create_task(self._observe(reading))

    async def _run_to_its_end(self) -> None:
        plan = self.plan
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask(plan.first, 0.0))
            for delay in plan.repeats:
                tasks.create_task(self._ask(plan.first._replace(segments=(), kind="repeat"), delay))
            tasks.create_task(self._stop())
            if plan.shape == "created":  # it may have no reader that sees its end
                tasks.create_task(self._wait_ended())
            for reading in plan.observers:
                if not reading.outlasts:
                    tasks.create_task(self._observe(reading))
        await self._wait_ended()

    async def _ask(self, reading: Reading, delay: float) -> None:
        """Send the request, and be the reader of what it answers."""
        await self._pause(delay)
        if reading.kind == "repeat" and self.kept_for_s() < LATE_S:
            return
        try:
            if self.plan.shape == "created":
                self._head(await ask(self.address, self.plan.request))
            elif self.plan.shape == "whole":
                await self._ask_whole()
            else:
                reader = Reader(self, reading)
                self.readers.append(reader)
                await reader.run(self.plan.request, self._head)
                self._after(reader)
        finally:
            self._known.set()
        if self.plan.ending == "leave":
            self.left_after_s = time.monotonic() - self._began

    async def _pause(self, seconds: float) -> None:
        """Wait, but not until the stream has ended and nobody keeps it any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def _ask_whole(self) -> None:
        exchange = await begin(self.address, self.plan.request)
        if self.plan.ending == "leave":
            await asyncio.wait([exchange.ended], timeout=self.plan.at_s)
            if not exchange.ended.done():
                exchange.leave()
                self.id = await self._find()
                return
        await over(exchange)
        self.answer = exchange
        self._head(exchange)
        self._note_end()

    def _head(self, exchange: Exchange) -> None:
        """The answer to a request that makes the stream, or joins it."""
        found = exchange.headers.get("headrace-stream-id", "")
        self.made.append((found, "idempotent-replayed" in exchange.headers))
        if not found:
            self.report("a request was refused", f"status {exchange.status}, {bytes(exchange.body)!r}")
        elif not self.id:
            self.id = found
            self._known.set()

    async def _find(self) -> str:
        """The id, from the list: who left before the answer was never told it."""
        before = ""
        for _ in range(_TRIES):
            page: Any = (await self.get(f"/v1/streams?limit=100{before}")).json()
            for row in page.get("data", ()):
                if row["metadata"].get("number") == str(self.plan.number):
                    return row["id"]
            if not page.get("next"):
                break
            before = f"&before={page['next']}"
        return ""

    async def _observe(self, reading: Reading) -> None:
        await self._known.wait()
        if reading.late:
            await self._ended.wait()
            await asyncio.sleep(reading.delay_s)
        else:
            await self._pause(reading.delay_s)
        if not self.id:
            return
        reader = Reader(self, reading)
        self.readers.append(reader)
        await reader.run()
        self._after(reader)

    def _after(self, reader: Reader) -> None:
        if reader.end in ("finished", "failed", "cancelled", "over", "refused"):
            self._note_end()

    async def _stop(self) -> None:
        """What the plan does to the stream, at its time."""
        plan = self.plan
        if plan.ending not in ("cancel", "cancel-by-key", "delete"):
            return
        await self._pause(plan.at_s)
        if plan.ending == "cancel-by-key":
            await self._cancel_by_key()
            return
        await self._known.wait()
        if not self.id:
            return
        path = f"/v1/streams/{self.id}"
        if plan.ending == "delete":
            self.deleted = True
            self._expect(await ask(self.address, Request("DELETE", path)), 204)
            self._note_end()
            return
        for _ in range(1 + plan.number % 2):  # the second time changes nothing
            self._expect_ended(await ask(self.address, Request("POST", f"{path}/cancel")))

    async def _cancel_by_key(self) -> None:
        request = Request("POST", "/v1/streams/cancel", {"idempotency_key": self.plan.key})
        exchange = await ask(self.address, request)
        for _ in range(_TRIES):
            if exchange.status != 404:  # the request that makes the stream is not there yet
                break
            await asyncio.sleep(_AGAIN_S)
            exchange = await ask(self.address, request)
        self._expect_ended(exchange)

    def _expect(self, exchange: Exchange, status: int) -> bool:
        if exchange.status == status:
            return True
        if exchange.status == 404 and self.kept_for_s() <= 0:
            return False
        self.report("an unexpected status", f"{exchange.status} instead of {status}: {bytes(exchange.body[:300])!r}")
        return False

    def _expect_ended(self, exchange: Exchange) -> None:
        if self._expect(exchange, 200):
            state = exchange.json()
            if not {"finish_reason", "error", "cancelled_by"} & set(state):
                self.report("a cancel was answered while the stream ran (P7)", f"{state}")
            self._note_end()

    async def _wait_ended(self) -> None:
        """Return when the stream has ended, whether anybody reads it or not."""
        await self._known.wait()
        while self.id and not self.deleted and not self._ended.is_set():
            state = await self.get(f"/v1/streams/{self.id}")
            if state.status != 200 or state.json()["state"] != "running":
                self._note_end()
                return
            await asyncio.sleep(_POLL_S)
        self._note_end()

    def _note_end(self) -> None:
        """Another stream may run now."""
        if not self._ended.is_set():
            self._ended.set()
            self._ended_at = time.monotonic()
            self.ledger.running -= 1
            self._world.running.release()

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Exchange:
        """A GET to its end."""
        return await ask(self.address, Request("GET", path, headers=headers or {}))

    def given_up(self) -> bool:
        """See `Stream`."""
        now = time.monotonic()
        cut = self.server.cut_off.get(self.id)
        if cut is not None and now - cut > 2 * WRITE_TIMEOUT_S:
            return True
        return self.ended_for_s() > _STUCK_AFTER_END_S

    def ended_for_s(self) -> float:
        """See `Stream`."""
        return time.monotonic() - self._ended_at if self._ended.is_set() else 0.0

    def was_cut_off(self) -> bool:
        """See `checks.Stream`."""
        self.server.read_log()
        return self.id in self.server.cut_off

    def kept_for_s(self) -> float:
        """See `Stream`."""
        self.server.read_log()
        return min((end.kept_for_s for end in self.server.ended.get(self.id, ())), default=RETENTION_S)

    def still_held(self, port: int) -> str:
        """See `Stream`."""
        cut = self.server.cut_off.get(self.id)
        if cut is None or time.monotonic() - cut < WRITE_TIMEOUT_S:
            return ""
        return held_end(self.address[1], port)

    def report(self, what: str, detail: str, view: str = "") -> None:
        """See `Stream`."""
        self.ledger.violation(what, detail, stream=self.plan.number, stream_id=self.id, view=view, plan=self.plan)
