"""A Valkey that a test takes away and gives back, always at the same port."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.processes import eventually
from tests.stores.redis.servers import VALKEY, Server, free_port, serving

# What is acknowledged is on the disk, so that a restart may lose nothing; a replica does not wait for others to come.
_OPTIONS = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")


class Breakable:
    """The store of some nodes; each fault is a context in which the store is away."""

    def __init__(self, directory: Path) -> None:
        """Starts it."""
        self._directory = directory / "first"
        self._stack = ExitStack()
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}"
        self.server = self._start()

    def _start(self) -> Server:
        return self._stack.enter_context(serving(VALKEY, self._directory, *_OPTIONS, port=self._port))

    def close(self) -> None:
        """End it for good."""
        self._stack.close()

    def _restart(self) -> None:
        self._stack.close()
        self.server = self._start()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """By SIGTERM, and started again with what it has saved."""
        os.kill(self.server.pid, signal.SIGTERM)
        os.waitid(os.P_PID, self.server.pid, os.WEXITED | os.WNOWAIT)
        try:
            yield
        finally:
            self._restart()

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """And started again with what it has saved."""
        os.kill(self.server.pid, signal.SIGKILL)
        try:
            yield
        finally:
            self._restart()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It is there and does nothing; then it does all that it was asked meanwhile."""
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.server.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def demoted(self) -> Iterator[None]:
        """A replica of nobody, which takes no writes; then a primary again."""
        self.server.ask("REPLICAOF", "127.0.0.1", 1)
        try:
            yield
        finally:
            self.server.ask("REPLICAOF", "NO", "ONE")

    @contextlib.contextmanager
    def failed_over(self, lacking: Callable[[], None] | None = None) -> Iterator[None]:
        """Killed, and its replica comes in its place: with everything, but for what comes to be during `lacking`."""
        directory = self._directory.with_name(f"{self._directory.name}-replica")
        with ExitStack() as stack:
            primary = ("--replicaof", "127.0.0.1", str(self._port))
            replica = stack.enter_context(serving(VALKEY, directory, *_OPTIONS, *primary))
            eventually(lambda: _offset(replica, "slave_repl_offset") == _offset(self.server, "master_repl_offset") > 0)
            if lacking is not None:
                replica.ask("REPLICAOF", "NO", "ONE")
                lacking()
            os.kill(self.server.pid, signal.SIGKILL)
            try:
                yield
            finally:
                self._stack.close()
                self._directory, self.server, self._stack = directory, replica, stack.pop_all()
                replica.ask("REPLICAOF", "NO", "ONE")
                replica.ask("CONFIG", "SET", "port", self._port)


def _offset(server: Server, field: str) -> int:
    found = server.ask("INFO", "replication").partition(f"\n{field}:")[2]
    return int(found.split()[0]) if found else -1


Fault = Callable[[Breakable], contextlib.AbstractContextManager[None]]
FAULTS: tuple[Fault, ...] = (
    Breakable.stopped,
    Breakable.killed,
    Breakable.paused,
    Breakable.demoted,
    Breakable.failed_over,
)
