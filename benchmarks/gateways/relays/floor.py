"""The floor for Python: bytes handed on between two bare protocols on uvloop. It knows nothing of HTTP.

python -m benchmarks.gateways.relays.floor PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class Upstream(asyncio.Protocol):
    """The connection to the model server, one for each of a client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client
        self.data_received = client.write  # type: ignore[method-assign]  # no frame of Python in between

    def connection_lost(self, exc: Exception | None) -> None:
        """The client's ends with it."""
        self._client.close()


class Client(asyncio.Protocol):
    """A client's connection."""

    upstream_port = 0

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._upstream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the model server."""
        self._transport = cast("asyncio.Transport", transport)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        made = await loop.create_connection(lambda: Upstream(self._transport), "127.0.0.1", self.upstream_port)
        self._upstream = made[0]
        self._upstream.writelines(self._waiting)

    def data_received(self, data: bytes) -> None:
        """Hand the request on."""
        if self._upstream is None:
            self._waiting.append(data)
        else:
            self._upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream's ends with it."""
        if self._upstream is not None:
            self._upstream.abort()


async def serve(port: int, upstream_port: int) -> None:
    """Serve until a signal."""
    Client.upstream_port = upstream_port
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), int(sys.argv[2])))
