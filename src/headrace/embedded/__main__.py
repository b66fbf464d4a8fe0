"""llama.cpp's own HTTP server with the embedded model, as a process: one model for many workers.

Reads an `Order` as one line of JSON from stdin, since an API key in the arguments would be in `ps`. Says `ready PORT`
on stdout, or `failed` with the reason as a JSON string. Ends at SIGTERM, and when stdin ends: whoever started it has
died.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import msgspec

from headrace.embedded.llamacpp import EngineSettings, open_server
from headrace.embedded.order import Order
from headrace.errors import ConfigError


def main() -> int:
    """Serve until told to end."""
    signal.signal(signal.SIGTERM, _leave)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    settings = EngineSettings(slots=order.slots, context=order.context)
    try:
        server = open_server(settings, port=order.port, api_key=order.api_key, connections=order.connections)
    except ConfigError as error:
        _say("failed", msgspec.json.encode(error.message).decode())
        return 2
    try:
        _say("ready", server.listening_address.rpartition(":")[2])
        sys.stdin.buffer.read()
    finally:
        del server  # stops llama.cpp's threads; a process that ends while one of them computes is aborted
    return 0


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
