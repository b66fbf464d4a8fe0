"""What the process of the embedded model is told."""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct, frozen=True):
    """See `EngineSettings` and `open_server`."""

    slots: int
    context: int
    port: int
    api_key: str
    connections: int
