"""The load client: a process that reads a job from its standard input and writes what it measured to its output."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import uvloop

from benchmarks.gateways.exchange import Connection, Target
from benchmarks.gateways.figures import Measured, measured
from benchmarks.gateways.loads import Load
from benchmarks.gateways.meters import Meters
from benchmarks.gateways.resuming import Original, location, resumed
from benchmarks.gateways.transcript import Record, read

_PATIENCE_S: Final = 120.0
"""How long streams may take beyond their time; a server that is slower than it was thought gets to its end."""
_WARM_ANSWERS: Final = 5
_WARM_TRIES: Final = 50
_WARM_ANSWER_S: Final = 5.0
_WARM_PAUSE_S: Final = 0.2
_LOOK_S: Final = 0.02
# Consecutive multiples of this, modulo 1, are spread evenly however many there are.
_GOLDEN: Final = 0.618034


class Job(msgspec.Struct):
    """What to do."""

    load: Load
    port: int
    path: str
    headers: list[str]
    server: int
    """The process whose use is measured; 0 for none."""
    others: list[int]
    """Further processes of this measurement."""


class Session:
    """The records of one load, and two looks at the meters."""

    def __init__(self, job: Job) -> None:
        self.load = job.load
        self.target = Target(job.port, job.path, job.headers)
        self.meters = Meters(job.server, job.others)
        self.records: list[Record] = []
        self.original: Original | None = None
        self.idle = self.begun = self.ended = self.meters.read()

    async def warm(self) -> None:
        """Ask until the server answers well a few times."""
        good = 0
        problem = ""
        for _ in range(_WARM_TRIES):
            connection = await self.target.connect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WARM_ANSWER_S):  # one with a length is not seen to end
                    await connection.carry(self.target.question(',"max_tokens":1'))
            problem = read(connection.record, 1).problem
            connection.close()
            good += not problem
            if good == _WARM_ANSWERS:
                self.idle = self.meters.read()
                return
            await asyncio.sleep(_WARM_PAUSE_S if problem else 0)
        sys.exit(f"the server does not answer: {problem}")

    async def hold(self) -> None:
        """All streams run at the same time during the window."""
        await self._hold(self.load.streams, self.target.question)

    async def fanout(self) -> None:
        """One stream, and its readers."""
        connection = await self.target.connect()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._carry(connection, self.target.question()))
            while not connection.record.reads:  # noqa: ASYNC110 - once
                await asyncio.sleep(_LOOK_S)
            path = location(connection.record)
            await self._hold(self.load.streams - 1, lambda: self.target.look(path))

    async def resume(self) -> None:
        """An answer that is over is read on from anywhere."""
        connection = await self.target.connect()
        original = self.original = Original(await connection.carry(self.target.question()))
        await self._cycle(lambda: self.target.look(original.path, original.somewhere()))

    async def _hold(self, streams: int, request: Callable[[], bytes]) -> None:
        load = self.load
        connections: list[Connection] = []
        async with asyncio.TaskGroup() as tasks:
            began = asyncio.get_running_loop().time()
            for number in range(streams):
                # Not at the same time within a gap either, or their tokens would come in step.
                phase = (number * _GOLDEN) % 1 * load.gap
                await _until(began + load.ramp * number / streams + phase)
                tasks.create_task(self._stream(connections, request()))
            # A look now and then is cheaper for the reads than telling each first one.
            while len(connections) < streams or not all(each.record.reads for each in connections):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
            await asyncio.sleep(load.settle)
            await self._window(load.window)

    async def rush(self) -> None:
        """All streams at once; the window is from the first request to the last answer's end."""
        connections = [await self.target.connect() for _ in range(self.load.streams)]
        self.begun = self.meters.read()
        async with asyncio.TaskGroup() as tasks:
            for connection in connections:
                tasks.create_task(self._carry(connection, self.target.question()))
        self.ended = self.meters.read()

    async def cycle(self) -> None:
        """Each place carries one stream after the other on a connection that is kept."""
        await self._cycle(self.target.question)

    async def _cycle(self, request: Callable[[], bytes]) -> None:
        load = self.load
        loop = asyncio.get_running_loop()

        async def place(number: int) -> None:
            due = began + load.ramp * number / load.streams
            connection = await self.target.connect()
            while loop.time() < over:
                await _until(due)
                due += load.every
                await self._carry(connection, request())
                if not connection.usable:
                    connection = await self.target.connect()
            connection.close()

        async with asyncio.TaskGroup() as tasks:
            began = loop.time()
            over = began + load.ramp + load.settle + load.window
            for number in range(load.streams):
                tasks.create_task(place(number))
            await _until(began + load.ramp + load.settle)
            await self._window(load.window)

    async def _window(self, seconds: float) -> None:
        self.begun = self.meters.read()
        await asyncio.sleep(seconds)
        self.ended = self.meters.read()

    async def _stream(self, connections: list[Connection], request: bytes) -> None:
        connection = await self.target.connect()
        connections.append(connection)
        await self._carry(connection, request)
        connection.close()

    async def _carry(self, connection: Connection, request: bytes) -> None:
        self.records.append(await connection.carry(request))


async def _until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))


async def carry_out(job: Job) -> Measured:
    """Do it, and judge what came."""
    session = Session(job)
    kinds: dict[str, Callable[[], Awaitable[None]]] = {
        "hold": session.hold,
        "rush": session.rush,
        "cycle": session.cycle,
        "fanout": session.fanout,
        "resume": session.resume,
    }
    load = job.load
    await session.warm()
    async with asyncio.timeout(load.ramp + load.settle + load.window + load.tokens * load.gap + _PATIENCE_S):
        await kinds[load.kind]()
    if session.original is not None:
        return resumed(session.original, session.records, session.begun, session.ended)
    transcripts = [read(record, load.tokens) for record in session.records]
    return measured(load, transcripts, session.idle, session.begun, session.ended)


def main() -> None:
    """Carry out the job of the standard input."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()  # nothing here is garbage before the end
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.buffer.write(msgspec.json.encode(runner.run(carry_out(job))))


if __name__ == "__main__":
    main()
