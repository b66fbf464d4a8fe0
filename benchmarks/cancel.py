"""Cancel: milliseconds from POST .../cancel to its answer, and to the upstream seeing its connection closed.

A real `headrace serve` process in front of an upstream that streams for ever (in this process). Each round starts a
stream, waits for its third token, cancels it, and notes three times: when the answer came, when the upstream's socket
was closed, and that the log then says `cancelled`. Loopback only; it ends by itself.

    scripts/bench cancel [--rounds 300] [--busy 50]

`--busy` other streams run meanwhile, because an idle server flatters.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

import aiohttp

FRAME = b'data: {"id":"u","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}\n\n'
TOKEN = FRAME % b'{"index":0,"delta":{"content":"token "},"finish_reason":null}'
GAP = 0.02


class Upstream:
    """Streams tokens every 20 ms until its client goes; `closed[tag]` is when it saw that."""

    def __init__(self) -> None:
        self.closed: dict[str, asyncio.Future[float]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request (its tag is the prompt)."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if not body:  # the connection that is opened ahead
                    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
                await self._stream(json.loads(body)["messages"][0]["content"], reader, writer)
                break
        writer.close()

    async def _stream(self, tag: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        gone = asyncio.ensure_future(reader.read())
        while not gone.done():
            with contextlib.suppress(ConnectionError):
                writer.write(TOKEN)
            await asyncio.wait([gone], timeout=GAP)
        gone.exception()  # a reset is how an aborted connection looks from here
        if tag in self.closed and not self.closed[tag].done():
            self.closed[tag].set_result(time.perf_counter())


async def start_headrace(upstream_port: int) -> tuple[asyncio.subprocess.Process, str]:
    """A server process and its address, read from what it prints."""
    environ = {
        "PATH": os.environ["PATH"],
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "HEADRACE_MAX_RUNNING_PER_KEY": "10000",
    }
    command = [str(Path(sys.executable).with_name("headrace")), "serve", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
            return process, found[0].decode()
    raise SystemExit("headrace serve did not start")


async def one_round(http: aiohttp.ClientSession, base: str, upstream: Upstream, tag: str) -> tuple[float, float]:
    """Milliseconds from the cancel request to its answer and to the upstream's end of input."""
    upstream.closed[tag] = asyncio.get_running_loop().create_future()
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": tag}]}
    async with http.post(f"{base}/v1/chat/completions", json=body) as reading:
        for _ in range(6):
            await reading.content.readline()
        stream_id = reading.headers["Headrace-Stream-Id"]
        begun = time.perf_counter()
        async with http.post(f"{base}/v1/streams/{stream_id}/cancel") as answer:
            state = (await answer.json())["state"]
        answered = time.perf_counter()
        if state != "cancelled":
            raise SystemExit(f"round {tag}: state is {state}")
        closed = await asyncio.wait_for(upstream.closed[tag], 5)
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await reading.read()
    return (answered - begun) * 1000, (closed - begun) * 1000


def summary(name: str, values: list[float]) -> str:
    """One line: p50, p99, min and max."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{name:<28} p50 {cuts[49]:7.2f}  p99 {cuts[98]:7.2f}  min {min(values):7.2f}  max {max(values):7.2f}"


async def run(rounds: int, busy: int) -> None:
    """All rounds, one after the other, with `busy` streams beside them."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    process, base = await start_headrace(server.sockets[0].getsockname()[1])
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    answered: list[float] = []
    closed: list[float] = []
    try:
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http, asyncio.TaskGroup() as tasks:

            async def keep_busy(number: int) -> None:
                body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"busy {number}"}]}
                async with http.post(f"{base}/v1/chat/completions", json=body) as reading:
                    async for _ in reading.content.iter_any():
                        pass

            readers = [tasks.create_task(keep_busy(number)) for number in range(busy)]
            for number in range(rounds + 10):
                result = await one_round(http, base, upstream, f"round {number}")
                if number >= 10:  # the first ones warm up
                    answered.append(result[0])
                    closed.append(result[1])
            for reader in readers:
                reader.cancel()
    finally:
        process.terminate()
        await process.wait()
        server.close()
    print(f"{rounds} cancels, {busy} other streams running, milliseconds")
    print(summary("cancel answered", answered))
    print(summary("upstream saw its end", closed))


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--busy", type=int, default=50)
    options = parser.parse_args()
    asyncio.run(run(options.rounds, options.busy))


if __name__ == "__main__":
    main()
