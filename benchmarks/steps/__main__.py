"""The run: see the package."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from benchmarks.steps.cases import CHAT, MODEL, OTHERS, STREAMS, TRICKLE, Case, cases
from benchmarks.steps.watch import Step

_GAP_S = 0.02
_SETTLE_S = 0.3
"""What a request leaves behind, such as the end of its stream, belongs to its case."""
_decode = msgspec.json.Decoder(list[Step]).decode


@asynccontextmanager
async def started(*command: str, **environ: str) -> AsyncGenerator[str]:
    """A process and the address that it prints; it does not outlive the context."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(os.environ) | environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
                yield found[0].decode()
                return
        raise SystemExit(f"{command} did not start")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Trickles:
    """Streams whose tokens come 20 ms apart; notes by how much later each came."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self._base = base
        self.late: list[float] = []

    async def read(self, number: int) -> None:
        """One of them, until it is cancelled."""
        body = {"model": TRICKLE, "stream": True, "mock": {"gap": _GAP_S}, "max_tokens": 100_000}
        body["messages"] = [{"role": "user", "content": f"trickle {number}"}]
        async with self._http.post(self._base + CHAT, json=body) as reading:
            last = time.perf_counter()
            async for _ in reading.content.iter_any():
                now = time.perf_counter()
                self.late.append(now - last - _GAP_S)
                last = now


async def curl(base: str, stream_id: str, case: Case, file: Path) -> tuple[str, float]:
    """Make the request; its status and how many seconds it took."""
    headers = [field.replace("{key}", secrets.token_hex(8)) for field in case.headers]
    target = base + case.target.format(id=stream_id)
    command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code} %{time_total}", target]
    if case.body is not None:
        await asyncio.to_thread(file.write_bytes, case.body)
        command += ["-H", "Content-Type: application/json", "-H", "Expect:", "--data-binary", f"@{file}"]
    for field in headers:
        command += ["-H", field]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    status, seconds = output.split()
    return status.decode(), float(seconds)


async def long_stream(http: aiohttp.ClientSession, base: str, tokens: int) -> str:
    """The id of an ended stream of so many tokens."""
    body = {"model": MODEL, "stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": "long"}]}
    async with http.post(base + CHAT, json=body) as reading:
        await reading.read()
        return reading.headers["Headrace-Stream-Id"]


def row(name: str, status: str, seconds: float, steps: Sequence[Step], late: Sequence[float]) -> str:
    """One line of the table; a step is the processor's time, since others share the machine."""
    longest = max(steps, key=lambda step: step.cpu, default=Step(0, 0, ()))
    wall = max((step.wall for step in steps), default=0)
    over = sum(step.cpu > 0.005 for step in steps)
    figures = (longest.cpu, wall, max(late, default=0))
    numbers = " | ".join(f"{1000 * value:.1f}" for value in figures)
    return f"| {name} | {status} | {seconds:.2f} | {numbers} | {over} | {'; '.join(longest.ran[:3])} |"


async def measure(base: str, options: argparse.Namespace) -> None:
    """All cases, one after the other, each as often as asked; the worst of them is shown."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), connector=connector) as http:
        stream_id = await long_stream(http, base, options.tokens)
        trickles = Trickles(http, base)
        readers = [asyncio.ensure_future(trickles.read(number)) for number in range(options.trickles)]
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "body.json"

            async def seen() -> list[Step]:
                async with http.get(base + "/steps") as answer:
                    return _decode(await answer.read())

            print(
                "| case | status | s | longest step, CPU ms | wall ms | token late, ms | steps over 5 ms | what ran |"
            )
            print("|---|---|---|---|---|---|---|---|")
            idle = [Case("nothing but the trickle", STREAMS + "?limit=1")]
            for case in idle + cases(options.megabytes * 10**6, options.tokens):
                if options.case and not any(part in case.name for part in options.case):
                    continue
                await seen()
                trickles.late.clear()
                status, seconds = "", 0.0
                for _ in range(options.times):
                    status, seconds = await curl(base, stream_id, case, file)
                    await asyncio.sleep(_SETTLE_S)
                print(row(case.name, status, seconds, await seen(), trickles.late), flush=True)
        for reader in readers:
            reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*readers)


async def run(options: argparse.Namespace) -> None:
    """Start both servers and measure."""
    headrace = str(Path(sys.executable).with_name("headrace"))
    mock = (headrace, "mock", "--tokens", str(options.tokens))
    # Two, because a large body holds the mock too.
    async with started(*mock) as large, started(*mock) as small:
        params = {
            MODEL: {"model": "vllm/steps", "base_url": large + "/v1"},
            TRICKLE: {"model": "vllm/steps", "base_url": small + "/v1"},
            OTHERS["responses"]: {"model": "vllm/steps", "api": "responses", "base_url": large + "/v1"},
            OTHERS["messages"]: {"model": "anthropic/steps", "api_key": "none", "base_url": large},
        }
        models = [{"model_name": name, "params": each} for name, each in params.items()]
        config = {"model_list": models, "max_log_bytes": "4GiB"}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(config, file)  # JSON is YAML
            file.flush()
            command = (sys.executable, "-m", "benchmarks.steps.server", "--config", file.name, "--port", "0")
            async with started(*command) as base:
                await measure(base, options)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", help="parts of the names of the cases to measure")
    parser.add_argument("--megabytes", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--trickles", type=int, default=5)
    parser.add_argument("--times", type=int, default=2)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
