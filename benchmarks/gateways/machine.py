"""The machine: what it is, and whether others use it now."""

from __future__ import annotations

import os
import platform
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.gateways.meters import Meters, between

QUIET_SHARE: Final = 0.05
"""Of one core: what others may use while nobody is disturbed."""
_LOOK_S: Final = 0.5


def wait_until_quiet(patience_s: float) -> bool:
    """Wait until no other process uses much CPU; False when that did not come in time."""
    until = time.monotonic() + patience_s
    meters = Meters(0, [])
    while True:
        begun = meters.read()
        time.sleep(_LOOK_S)
        used = between(begun, meters.read())
        if used.foreign_s <= QUIET_SHARE * used.wall_s:
            return True
        if time.monotonic() >= until:
            return False


def description() -> dict[str, str]:
    """The machine of a result."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
