"""Where the processes of one server meet, and where its streams are kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from headrace.errors import ConfigError, HeadraceError

_PRIVATE: Final = 0o700
# A Valkey whose supervisor was killed flushes its file before it ends, and holds the lock until then.
_PATIENCE_S: Final = 2.0
_POLL_S: Final = 0.05


@contextlib.contextmanager
def run_directory() -> Generator[Path]:
    """A new directory that only this user can look into, for sockets. It is in TMPDIR, else in /tmp."""
    with tempfile.TemporaryDirectory(prefix="headrace-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@contextlib.contextmanager
def data_directory(path: Path) -> Generator[int]:
    """Make the directory if there is none, and hold it; gives the descriptor that holds it, for heirs to hold it too.

    Raises:
        ConfigError: it cannot be made or written.
        HeadraceError: another server holds it.
    """
    try:
        path.mkdir(_PRIVATE, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"data: {path} cannot be used: {error.strerror}") from None
    try:
        _lock(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                text = f"data: another server keeps its streams in {path}: stop it, or name another directory"
                raise HeadraceError(text) from None
            time.sleep(_POLL_S)
        else:
            return
