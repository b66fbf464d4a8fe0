"""A store that cannot be used stops the start, with one line that says why and no password."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import HEADRACE, command
from tests.stores.redis.servers import VALKEY, free_port, serving

OLD = b"%3\r\n+server\r\n+redis\r\n+version\r\n+6.2.14\r\n+mode\r\n+standalone\r\n"


@contextmanager
def nobody(directory: Path) -> Iterator[int]:
    yield free_port()


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    port = free_port()
    with serving(VALKEY, directory, "--requirepass", "another", port=port):
        yield port


@contextmanager
def replica(directory: Path) -> Iterator[int]:
    port = free_port()
    with serving(VALKEY, directory, "--requirepass", "hunter2", "--replicaof", "127.0.0.1", "1", port=port):
        yield port


@contextmanager
def old(directory: Path) -> Iterator[int]:
    """Says hello as Redis 6 does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(OLD)
                connection.recv(65536)  # until it hangs up

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (nobody, "cannot be reached"),
        (locked, "does not take this user and password"),
        (replica, "is a replica and takes no writes"),
        (old, "is version 6.2.14, but 7 or"),
    ],
)
def test_a_store_that_cannot_be_used_stops_the_start_with_one_line(
    store: Callable[[Path], AbstractContextManager[int]], reason: str, tmp_path: Path
):
    with store(tmp_path) as port:
        done = command(
            HEADRACE, "serve", "--port", "0", OPENAI_API_KEY="none", REDIS_URL=f"redis://:hunter2@127.0.0.1:{port}"
        )
    assert done.returncode == 2
    assert f"redis_url: Redis at 127.0.0.1:{port} {reason}" in done.stderr
    assert "Traceback" not in done.stderr and "hunter2" not in done.stderr
