"""The two processes: `headrace mock`, and `headrace serve` in front of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

import msgspec

from benchmarks.soak.answers import Recipe
from benchmarks.soak.plan import BRIEF, MODEL, PAUSING, marker

WRITE_TIMEOUT_S: Final = 3.0
RETENTION_S: Final = 20.0
LATE_S: Final = 10.0
"""A request with a key is not sent when its stream is not kept for so long any more: it might make another one."""
BRIEF_S: Final = 5.0
"""The total deadline of the model that has a short one."""
PAUSE: Final = {"backpressure": "pause", "pause_lag": 5, "pause_timeout": 1}
_END_S: Final = 30.0
_CLOSE_S: Final = 0.2
"""A stream is removed, and its end written down, some time before we see it."""
_CUT: Final = re.compile(rb"stream ([0-9a-f]{32}): a reader does not read and is cut off")
_LINE: Final = b'{"time":'
_DEFECTS: Final = (b"Traceback", b"ASGI callable returned", b"Exception in", b"never retrieved", b"was never awaited")


class End(msgspec.Struct, frozen=True):
    """The line that is logged for an ended stream."""

    id: str
    time: datetime
    status: str
    code: str

    @property
    def kept_for_s(self) -> float:
        """How long the stream is still kept."""
        return self.time.timestamp() + RETENTION_S - _CLOSE_S - time.time()


_decode_end = msgspec.json.Decoder(End).decode


def settings(upstream: str, running: int) -> dict[str, Any]:
    """The server's configuration; deadlines are short, so that each is met often."""
    params = {"model": "vllm/soak", "base_url": f"{upstream}/v1"}
    return {
        "model_list": [
            {"model_name": MODEL, "params": params},
            {"model_name": BRIEF, "params": params | {"total_timeout": BRIEF_S}},
            {"model_name": PAUSING, "params": params | PAUSE},
        ],
        "ttft_timeout": 8,
        "stream_idle_timeout": 6,
        "total_timeout": 120,
        "retry_backoff": 0.1,
        "keepalive_seconds": 1,
        "header_hold": 1,
        "write_timeout": WRITE_TIMEOUT_S,
        "retention_seconds": RETENTION_S,
        "drain_timeout": 5,
        "max_upstream_line_bytes": "512KiB",
        # Slots that are not given back would soon be missing.
        "max_running_per_key": running + running // 5 + 20,
    }


def scenario(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """A rule for every shared recipe."""
    rules = [
        {
            "match": {"prompt": re.escape(marker(number))},
            "fault": recipe.fault.text.split(";") if recipe.fault.text else "",
            "settings": recipe.wishes(),
        }
        for number, recipe in enumerate(recipes)
    ]
    return {"rules": rules}


class Server:
    """One process and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, errors: BinaryIO) -> None:
        self.process = process
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self.address = (parts.hostname, parts.port)
        self.cut_off: dict[str, float] = {}
        """Streams one of whose readers was cut off for not reading, and when that was seen in the log."""
        self.ended: dict[str, list[End]] = {}
        """What the log says of the end of each stream, by its id; there must be one line."""
        self.defects: list[str] = []
        """Lines that must not be in a log."""
        self._errors = errors
        self._begun = b""
        """A line whose end is not written yet."""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def read_log(self) -> None:
        """Look at what was logged since the last time."""
        *lines, self._begun = (self._begun + self._errors.read()).split(b"\n")
        for line in lines:
            if line.startswith(_LINE):
                end = _decode_end(line)
                self.ended.setdefault(end.id, []).append(end)
            elif found := _CUT.search(line):
                self.cut_off.setdefault(found[1].decode(), time.monotonic())
            elif any(sign in line for sign in _DEFECTS):
                self.defects.append(line.decode(errors="replace").strip())

    async def end(self) -> int | None:
        """End it in order; the exit code, None when it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_S):
                return await self.process.wait()
        except TimeoutError:
            return None
        finally:
            self.read_log()


@asynccontextmanager
async def started(name: str, options: Sequence[str], directory: Path) -> AsyncGenerator[Server]:
    """`headrace NAME`, once it listens; it does not outlive the context."""
    log = directory / f"{name}.txt"
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    with log.open("wb") as sink, log.open("rb") as errors:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("headrace")),
            name,
            *options,
            env=kept,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
        )
        try:
            yield Server(process, await _url(process, errors), errors)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _url(process: asyncio.subprocess.Process, errors: BinaryIO) -> str:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if found := re.search(rb"http://127\.0\.0\.1:\d+", line):
            return found[0].decode()
    raise SystemExit(f"it did not start: {errors.read().decode()}")


@asynccontextmanager
async def both(
    seed: int, streams: int, recipes: Sequence[Recipe], directory: Path
) -> AsyncGenerator[tuple[Server, Server]]:
    """The mock, and the server in front of it."""
    rules = directory / "scenario.yaml"
    rules.write_text(json.dumps(scenario(recipes)))  # JSON is YAML
    async with started("mock", ["--seed", str(seed), "--scenario", str(rules)], directory) as mock:
        config = directory / "headrace.yaml"
        host, port = mock.address
        config.write_text(json.dumps(settings(f"http://{host}:{port}", streams)))
        async with started("serve", ["--config", str(config), "--port", "0"], directory) as server:
            yield mock, server
