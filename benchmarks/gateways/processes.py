"""The processes of one measurement: each on its core, and none outlives it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.gateways.client import Job
from benchmarks.gateways.figures import Measured
from benchmarks.gateways.loads import Load
from benchmarks.gateways.meters import tree
from benchmarks.gateways.servers.base import ROOT, Place, Server, free_port

_LOAD_CORE: Final = 0
_SERVER_CORE: Final = 1
_START_S: Final = 90.0
_END_S: Final = 10.0
_EXCERPT: Final = 1500


class Failed(Exception):
    """A process did not do what it is for; the text says which, and what it logged."""


@dataclass(frozen=True)
class Running:
    """A started process; the one of no server has no id."""

    port: int
    pid: int
    log: Path


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command on one core."""
    return ["taskset", "-c", str(core), *command]


@contextmanager
def mock(load: Load) -> Iterator[Running]:
    """A model server that answers as the load says."""
    with tempfile.TemporaryDirectory(prefix="gateways-") as directory:
        log = Path(directory) / "log.txt"
        command = [str(Path(sys.executable).with_name("headrace")), "mock", *load.mock_options]
        with _process(pinned(_LOAD_CORE, command), log, {}) as process:
            yield Running(_told_port(process, log), process.pid, log)


def _told_port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(rb"http://127\.0\.0\.1:(\d+)", log.read_bytes()):
            return int(found[1])
        time.sleep(0.02)
    raise Failed(f"the mock did not start: {_end(log)}")


@contextmanager
def serving(server: Server, upstream_port: int) -> Iterator[Running]:
    """The server, once it listens."""
    if server.command is None:
        yield Running(upstream_port, 0, Path(os.devnull))
        return
    with tempfile.TemporaryDirectory(prefix="gateways-") as name:
        place = Place(free_port(), upstream_port, Path(name))
        log = place.directory / "log.txt"
        command = pinned(_SERVER_CORE, server.command(place))
        with _process(command, log, server.environ(place)) as process:
            _listens(place.port, process, server.name, log)
            yield Running(place.port, process.pid, log)


def _listens(port: int, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Failed(f"{name} did not start: {_end(log)}")


def run_client(job: Job) -> Measured:
    """The load client's word."""
    command = pinned(_LOAD_CORE, [sys.executable, "-m", "benchmarks.gateways.client"])
    done = subprocess.run(command, input=msgspec.json.encode(job), capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        raise Failed(f"the client failed: {done.stderr.decode(errors='replace')[-_EXCERPT:]}")
    return msgspec.json.decode(done.stdout, type=Measured)


@contextmanager
def _process(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    if shutil.which(command[0]) is None:
        raise Failed(f"there is no {command[0]}")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=kept | dict(environ),
            cwd=log.parent,
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, by their ids."""
    family = tree(process.pid)
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family[1:]:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_EXCERPT:]
