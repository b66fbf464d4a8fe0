"""uvicorn's HTTP, for clients that stop reading."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.transports.connection import ABORT

LAST_WRITES_S: Final = 1
"""How long clients have for bytes that are on their way when the server ends; who reads was waited for before."""

# SO_LINGER, on, 0 seconds: closing is a reset, and the kernel forgets what it holds (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)


class AbortableProtocol(HttpToolsProtocol):
    """One connection. Offers `transports.connection.ABORT`, and keeps nothing back from its flow control."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Let writes wait until all before is with the kernel.

        With the usual mark of 64 KiB, as much of an answer's end could wait for its reader for ever: after the last
        write nobody looks at it.
        """
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)

    def on_message_begin(self) -> None:
        """Put the extension into the scope of the request."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.abort}  # pyright: ignore[reportGeneralTypeIssues]

    def abort(self) -> None:
        """See `ABORT`.

        uvicorn only closes, which waits until the client has taken everything; and closing a socket leaves what the
        kernel holds in its memory for as long as the client's kernel answers.
        """
        if self not in self.connections:  # gone, and its descriptor perhaps another connection's by now
            return
        found: socket.socket | None = self.transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def shutdown(self) -> None:
        """Close once the answer is sent; who does not take it is reset, before uvicorn cancels what serves them."""
        super().shutdown()
        self.loop.call_later(LAST_WRITES_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the extension back, which refers to this object: else only the garbage collector could free the two."""
        super().connection_lost(exc)
        if self.scope:  # none before the first request
            self.scope.pop("extensions", None)
