"""uvicorn's HTTP, for clients that stop reading."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headrace.cli.light import LightEvent, LightFlow, LightPipeline
from headrace.transports.connection import ABORT, DIRECT

LAST_WRITES_S: Final = 1
"""How long clients have for bytes that are on their way when the server ends; who reads was waited for before."""

# SO_LINGER, on, 0 seconds: closing is a reset, and the kernel forgets what it holds (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)


class _Direct:
    """One request's connection: see `transports.connection.Direct`."""

    __slots__ = ("_gone", "_request")

    def __init__(self, request: RequestResponseCycle) -> None:
        self._request = request
        self._gone: Callable[[], object] | None = None

    @property
    def over(self) -> bool:
        """Whether the answer is complete."""
        return self._request.response_complete

    @property
    def paused(self) -> bool:
        """See `Direct`."""
        return self._request.flow.write_paused

    def write(self, body: bytes) -> bool:
        """See `Direct`."""
        request = self._request
        if request.disconnected:
            return True
        if not request.chunked_encoding:
            raise RuntimeError("a body is written directly only where its length is not known")
        request.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return not request.flow.write_paused

    def watch(self, gone: Callable[[], object]) -> bool:
        """See `Direct`."""
        request = self._request
        if request.more_body:
            return False
        request.flow.resume_reading()
        self._gone = gone
        if request.disconnected:
            self.lost()
        return True

    def release(self) -> None:
        """Take the extensions out of the request's scope, which they refer to."""
        self._request.scope.pop("extensions", None)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def lost(self) -> None:
        """The client has gone."""
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()


class AbortableProtocol(HttpToolsProtocol):
    """One connection. Offers `ABORT` and `DIRECT`, and keeps nothing back from its flow control."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """See uvicorn."""
        super().__init__(*arguments, **options)
        self.pipeline = LightPipeline()  # pyright: ignore[reportAttributeAccessIssue]
        self._directs: list[_Direct] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Let writes wait until all before is with the kernel.

        With the usual mark of 64 KiB, as much of an answer's end could wait for its reader for ever: after the last
        write nobody looks at it.
        """
        super().connection_made(transport)
        self.flow = LightFlow(transport)
        transport.set_write_buffer_limits(0)

    def on_headers_complete(self) -> None:
        """Put the extensions into the scope of the request."""
        super().on_headers_complete()
        cycle = self.cycle
        if cycle.scope is self.scope:
            cycle.message_event = LightEvent()  # pyright: ignore[reportAttributeAccessIssue]
            direct = _Direct(cycle)
            self._directs.append(direct)
            self.scope["extensions"] = {ABORT: self.abort, DIRECT: direct}  # pyright: ignore[reportGeneralTypeIssues]

    def on_response_complete(self) -> None:
        """Let go of the answer that is complete: else only the garbage collector could free what belongs to it."""
        for direct in self._directs:
            if direct.over:
                direct.release()
        self._directs = [direct for direct in self._directs if not direct.over]
        super().on_response_complete()

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

    def close_when_idle(self) -> None:
        """Close now, or after the answer that is being sent, however long that takes."""
        super().shutdown()

    def shutdown(self) -> None:
        """Close once the answer is sent; who does not take it is reset, before uvicorn cancels what serves them."""
        super().shutdown()
        self.loop.call_later(LAST_WRITES_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for it, and take the extensions back, which refer to this object."""
        super().connection_lost(exc)
        for direct in self._directs:
            direct.lost()
            direct.release()
        self._directs.clear()
