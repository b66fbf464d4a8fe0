"""What processes and the machine have used, from `/proc`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")
_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# The columns of /proc/stat: user, nice, system, then irq, softirq, steal; idle and iowait are between.
_BUSY: Final = (0, 1, 2, 5, 6, 7)
_STEAL: Final = 7


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for each in found:
        for children in _read_all(_PROC / str(each) / "task", "children"):
            found.extend(int(child) for child in children.split())
    return found


def cpu_ns(pids: Iterable[int]) -> int:
    """Nanoseconds, user and system, of all their threads that still live."""
    return sum(
        int(text.split()[0])
        for pid in pids
        for text in _read_all(_PROC / str(pid) / "task", "schedstat")
        if text.strip()
    )


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    texts = (_read(_PROC / str(pid) / "statm") for pid in pids)
    return sum(int(text.split()[1]) * page for text in texts if text)


class Machine(msgspec.Struct, frozen=True):
    """CPU time of all cores since the start of the system."""

    busy_ns: int
    steal_ns: int
    """Of that: taken by other machines on the same hardware."""


def machine() -> Machine:
    """What the machine has used; in steps of the system's tick."""
    columns = [int(text) for text in _read(_PROC / "stat").split("\n", 1)[0].split()[1:]]
    return Machine(sum(columns[each] for each in _BUSY) * _TICK_NS, columns[_STEAL] * _TICK_NS)


class Reading(msgspec.Struct, frozen=True):
    """One look at everything."""

    at_ns: int
    server_ns: int
    server_rss: int
    ours_ns: int
    """The server, the mock, the client and who started them."""
    machine: Machine


class Meters:
    """Reads the same processes again and again."""

    def __init__(self, server: int, others: Iterable[int]) -> None:
        """`server` 0: there is none. `others` are ours too; with the process that reads."""
        self._server = server
        self._others = [*others, os.getpid()]

    def read(self) -> Reading:
        """Look now; processes that the server has started since the last look are found."""
        server = tree(self._server) if self._server else []
        used = cpu_ns(server)
        return Reading(time.monotonic_ns(), used, rss_bytes(server), used + cpu_ns(self._others), machine())


class Used(msgspec.Struct, frozen=True):
    """What a window of time took, in seconds."""

    wall_s: float
    server_s: float
    foreign_s: float
    """CPU of processes that are none of ours, and of other machines."""


def between(begun: Reading, ended: Reading) -> Used:
    """What happened between two looks."""
    ours = ended.ours_ns - begun.ours_ns
    busy = ended.machine.busy_ns - begun.machine.busy_ns
    return Used(
        wall_s=(ended.at_ns - begun.at_ns) / 1e9,
        server_s=(ended.server_ns - begun.server_ns) / 1e9,
        foreign_s=max(0, busy - ours) / 1e9,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def _read_all(directory: Path, name: str) -> list[str]:
    try:
        return [_read(each / name) for each in directory.iterdir()]
    except OSError:
        return []
