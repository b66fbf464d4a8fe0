"""Memory: what an open stream, a finished one, a token in the log and a reader cost a real server process.

A `headrace serve` process in front of a `headrace mock` process, and clients that take whatever comes (in this
process). Every price is the difference of the server's resident memory (/proc/PID/status), divided by what there was
more of. Each case has a server of its own, which has served some streams before. Loopback and Linux only; it ends by
itself.

    scripts/bench memory [CASE ...] [--streams 1000] [--tokens 1000] [--finished 400]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

HEADRACE = str(Path(sys.executable).with_name("headrace"))
WARM = 50
PACKED_S = 14.0
"""After the end of a stream: it settles for 10 s, and is compressed then."""
ROUNDS = 4
CONTENT = b'"content":'
BEGINNING = 2048


class Client(asyncio.Protocol):
    """Sends one request and throws away what comes, except for the beginning."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.beginning = b""
        self.wanted = b"\r\n\r\n"
        self._tail = b""
        loop = asyncio.get_running_loop()
        self.found: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if len(self.beginning) < BEGINNING:
            self.beginning += data
        seen = self._tail + data
        if self.wanted in seen and not self.found.done():
            self.found.set_result(None)
        self._tail = seen[-len(self.wanted) :]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.found.done():
            self.found.set_exception(ConnectionError(self.beginning.decode(errors="replace")))
        self.closed.set_result(None)


class Server:
    """A `headrace serve` process and its memory."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port
        self.clients: list[Client] = []

    def resident(self) -> int:
        """Bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    async def calm(self) -> int:
        """Resident memory once nothing changes any more."""
        before = -1
        for _ in range(20):
            await asyncio.sleep(0.5)
            now = self.resident()
            if abs(now - before) < 64 * 1024:
                return now
            before = now
        return before

    async def ask(self, request: bytes, wanted: bytes) -> Client:
        """Send a request on a connection of its own and wait until `wanted` has come."""
        loop = asyncio.get_running_loop()
        client = Client(request)
        client.wanted = wanted
        await loop.create_connection(lambda: client, "127.0.0.1", self.port)
        self.clients.append(client)
        await asyncio.wait_for(client.found, 20)
        return client

    async def streams(self, count: int, tokens: int, fault: str, wanted: bytes) -> None:
        """Start streams, some at a time, and wait until `wanted` has come on each."""
        body = {
            "model": "mock",
            "stream": True,
            "messages": [{"role": "user", "content": "Tell me a story. " * 10}],
            "mock": {"tokens": tokens, "fault": fault},
        }
        await gathered(count, lambda: self.ask(post(body), wanted))

    async def leave(self) -> None:
        """Close all connections."""
        for client in self.clients:
            client.transport.close()
        for client in self.clients:
            await client.closed
        self.clients.clear()


async def gathered(count: int, work: Callable[[], Awaitable[Any]], together: int = 20) -> None:
    """Do the work `count` times, at most `together` at the same time."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(worker() for _ in range(together)))


def post(body: dict[str, Any]) -> bytes:
    """A request for a stream that ends when its reader has left."""
    data = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"headrace-on-disconnect: cancel\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data)
    )


def get(path: str) -> bytes:
    """A request to read."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()


async def started(*command: str, **environment: str) -> tuple[asyncio.subprocess.Process, int]:
    """A process and the port that it prints."""
    environ = {"PATH": os.environ["PATH"], **environment}
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if found := re.search(rb"http://127\.0\.0\.1:(\d+)", line):
            return process, int(found[1])
    raise SystemExit(f"{' '.join(command)} did not start")


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    """A mock and a server that has served some streams."""
    mock, mock_port = await started(HEADRACE, "mock", "--port", "0")
    process, port = await started(
        *(HEADRACE, "serve", "--port", "0", "--log-level", "warning"),
        OPENAI_API_KEY="none",
        OPENAI_BASE_URL=f"http://127.0.0.1:{mock_port}/v1",
        HEADRACE_MAX_RUNNING_PER_KEY="100000",
        HEADRACE_STREAM_IDLE_TIMEOUT="1h",
    )
    made = Server(process.pid, port)
    try:
        await made.streams(WARM, 200, "none", b"[DONE]")
        await made.leave()
        yield made
        await made.leave()
    finally:
        for each in (process, mock):
            with contextlib.suppress(ProcessLookupError):
                each.terminate()
            await each.wait()


def price(name: str, spent: int, count: int) -> None:
    """Print one line."""
    each = spent / count
    text = f"{each / 1024:,.1f} KiB" if each >= 1024 else f"{each:,.1f} bytes"
    print(f"{name:<56} {text:>12}   {count:>8,} take {spent / 2**20:7.1f} MiB", flush=True)


async def idle(options: argparse.Namespace) -> None:
    """Streams with three tokens whose model says nothing more; each has its reader."""
    async with server() as made:
        before = await made.calm()
        price("the process itself", before, 1)
        await made.streams(options.streams, 10, "hang-between-tokens:3", CONTENT)
        price(
            f"open stream, idle, its reader included, of {options.streams:,}",
            await made.calm() - before,
            options.streams,
        )


async def running(options: argparse.Namespace) -> None:
    """Streams with many tokens that have not ended, less those with three."""
    streams = max(options.streams // 10, 1)
    async with server() as made:
        fault = f"hang-between-tokens:{options.tokens}"
        before = await made.calm()
        await made.streams(streams, 10, "hang-between-tokens:3", CONTENT)
        with_three = await made.calm()
        await made.streams(streams, options.tokens + 10, fault, b'"created"')
        spent = await settled(made) - with_three - (with_three - before)
        price("token in the log of a running stream", spent, streams * (options.tokens - 3))


async def settled(made: Server) -> int:
    """Resident memory, at the earliest when what is on its way must have arrived."""
    await asyncio.sleep(2)
    return await made.calm()


async def finished(options: argparse.Namespace) -> None:
    """Streams that have ended: at once, and from round to round when they are compressed."""
    count, tokens = options.finished, options.tokens
    async with server() as made:
        before = await made.calm()
        after: list[int] = []
        for number in range(ROUNDS):
            await made.streams(count, tokens, "none", b"[DONE]")
            await made.leave()
            if number == 0:
                plain = await made.calm()
                price(f"finished stream of {tokens:,} tokens, in its first 10 s", plain - before, count)
            await asyncio.sleep(PACKED_S)
            after.append(await made.calm())
        spent = after[-1] - after[0]
        price(f"finished stream of {tokens:,} tokens, compressed", spent, count * (ROUNDS - 1))
        price("token in the log, compressed", spent, count * (ROUNDS - 1) * tokens)
        price("compressed, as the store accounts for it", await accounted(made), 1)


async def accounted(made: Server) -> int:
    """`bytes` of the oldest of the newest streams, as the list has them."""
    client = await made.ask(get("/v1/streams?limit=1"), b"\r\n\r\n")
    await client.closed
    found = re.search(rb'"bytes":(\d+)', client.beginning)
    assert found is not None, client.beginning
    return int(found[1])


async def readers(options: argparse.Namespace) -> None:
    """Readers of one stream whose model says nothing."""
    async with server() as made:
        await made.streams(1, 10, "hang-between-tokens:3", CONTENT)
        found = re.search(rb"headrace-stream-id: (\w+)", made.clients[0].beginning)
        assert found is not None
        path = f"/v1/streams/{found[1].decode()}/events?format=openai.chat"
        before = await made.calm()
        await gathered(options.streams, lambda: made.ask(get(path), CONTENT))
        price(f"waiting reader, of {options.streams:,}", await made.calm() - before, options.streams)


CASES = {"idle": idle, "readers": readers, "running": running, "finished": finished}


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], default=[], help="all of them by default")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=400)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name in options.case or CASES:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(CASES[name](options))


if __name__ == "__main__":
    main()
