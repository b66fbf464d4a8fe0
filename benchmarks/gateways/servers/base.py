"""What is known of a server: how it is installed, started and asked."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
TOOLS: Final = ROOT / ".gateways"
"""Where `--install` puts what is not a system's package; not in git."""


@dataclass(frozen=True)
class Place:
    """Where a server runs."""

    port: int
    """To listen on."""
    upstream_port: int
    directory: Path
    """Of its own, for its configuration and whatever it writes."""

    @property
    def upstream(self) -> str:
        """The model server."""
        return f"http://127.0.0.1:{self.upstream_port}"

    def write(self, name: str, text: str) -> str:
        """A file of its own; returns its path."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)


@dataclass(frozen=True)
class Server:
    """One row of the table."""

    name: str
    command: Callable[[Place], Sequence[str]] | None
    """Writes its configuration and says how it is started; None: there is no server."""
    version: Callable[[], str]
    """What is installed; empty: it is not."""
    how: str
    """How it is configured, for the report."""
    install: Callable[[], None] | None = None
    """Makes it available; None: it comes with the environment."""
    environ: Callable[[Place], Mapping[str, str]] = field(default=lambda _: {})
    """Beyond PATH and HOME."""
    headers: Sequence[str] = ()
    """Of each request; `{number}` is its number, `{upstream_port}` where the mock listens."""
    path: str = "/v1/chat/completions"
    rates: tuple[int, ...] = (5_000, 25_000)
    """Events per second of the paced load: what it can manage on a core."""
    rush_tokens: int = 20_000
    """Of each of the 50 streams of the saturation, so that it takes some seconds."""
    durable: bool = False
    """Whether a stream can have many readers and be resumed."""
    connects: float = 500.0
    """Streams that it can begin in a second."""


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def output(*command: str) -> str:
    """What a command prints on either stream, in a line; empty if there is none such or it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()
