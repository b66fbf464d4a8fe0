"""What the processes hold: from `/metrics`, from the mock's `/stats`, and from `/proc` where there is one."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.soak.wire import Request, ask

_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ENDED: Final = "headrace_streams_ended_total"
_TCP: Final = Path("/proc/net/tcp")


class Held(NamedTuple):
    """One process; numbers are 0 where the system does not tell."""

    rss_mb: float = 0.0
    fds: int = 0
    threads: int = 0
    sockets: int = 0
    cpu_s: float = 0.0


class Metrics(NamedTuple):
    """One look at `/metrics`; values of one name are summed over its labels."""

    values: dict[str, float]
    ended: Counter[str]
    """Ended streams by state."""

    def of(self, name: str) -> int:
        """A gauge or a counter; -1 when there is none."""
        return round(self.values.get(name, -1.0))


async def read_metrics(address: tuple[str, int]) -> Metrics:
    """Ask the server; it knows nothing of a name that has no value yet."""
    exchange = await ask(address, Request("GET", "/metrics"))
    values: dict[str, float] = {}
    ended: Counter[str] = Counter()
    text = exchange.body.decode() if exchange.status == 200 else ""
    for name, labels, value in _SAMPLE.findall(text):
        values[name] = values.get(name, 0.0) + float(value)
        if name == _ENDED:
            ended[dict(_LABEL.findall(labels))["state"]] += round(float(value))
    return Metrics(values, ended)


async def read_stats(address: tuple[str, int]) -> Any:
    """The mock's own count."""
    return (await ask(address, Request("GET", "/stats"))).json()


def held(pid: int) -> Held:
    """What a process holds now."""
    root = Path(f"/proc/{pid}")
    if not root.exists():
        return Held()
    links = [_link(each) for each in (root / "fd").iterdir()]
    status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines())
    times = (root / "stat").read_text().rpartition(")")[2].split()
    return Held(
        rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        fds=len(links),
        threads=int(status["Threads"]),
        sockets=sum(link.startswith("socket:") for link in links),
        cpu_s=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
    )


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed since it was listed
        return ""


class Connections(NamedTuple):
    """Sockets of the loopback that a process still has, by who is on the other side."""

    of_clients: int
    to_upstream: int


def connections(server_port: int, upstream_port: int) -> Connections:
    """The server's; a listening socket is none of them."""
    found = [row for row in _rows() if row.is_owned and row.remote]
    return Connections(
        sum(row.local == server_port for row in found), sum(row.remote == upstream_port for row in found)
    )


def held_end(server_port: int, client_port: int) -> str:
    """What the server's process still has of a connection, in words; empty when it has nothing of it."""
    for row in _rows():
        if row.is_owned and (row.local, row.remote) == (server_port, client_port):
            return f"state {row.state}, {row.unsent} bytes in the kernel"
    return ""


class _Row(NamedTuple):
    """One socket."""

    local: int
    remote: int
    state: str
    """As the kernel writes it: `01` is established."""
    unsent: int
    is_owned: bool
    """Whether a process has it: one that was closed is the kernel's alone."""


def _rows() -> list[_Row]:
    if not _TCP.exists():
        return []
    rows = [line.split() for line in _TCP.read_text().splitlines()[1:]]
    return [_Row(int(row[1][9:], 16), int(row[2][9:], 16), row[3], int(row[4][:8], 16), row[9] != "0") for row in rows]
