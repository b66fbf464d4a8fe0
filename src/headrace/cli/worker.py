"""One of several processes that serve: `python -m headrace.cli.worker NUMBER`, started by the supervisor.

The number is for who reads `ps`; what counts comes over stdin (`order`). Says `ready` on stdout, or `failed` with the
reason as a JSON string. SIGTERM drains, SIGHUP does so too and leaves the socket to the others meanwhile.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import msgspec
import typer

from headrace.cli.order import Order, decode
from headrace.cli.server import run
from headrace.errors import ConfigError, HeadraceError
from headrace.telemetry.siblings import Siblings


def main() -> int:
    """Serve until told to end."""
    order = decode(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        _serve(order)
    except HeadraceError as error:
        _say("failed " + msgspec.json.encode(error.message).decode())
        return 2 if isinstance(error, ConfigError) else 1
    except typer.Exit as end:
        return end.exit_code
    return 0


def _serve(order: Order) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in order.sockets]
    siblings = Siblings(Path(order.directory), order.number, order.config.workers)
    run(order.config, sockets, lambda: _say("ready"), siblings)


def _end_with_supervisor() -> None:
    """Its end is the end of stdin. Nothing is left to write an end to: the store goes at the same moment."""
    while os.read(0, 4096):  # not by `sys.stdin`, whose lock the interpreter wants when it ends
        pass
    os._exit(1)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
