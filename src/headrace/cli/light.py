"""What uvicorn holds for each connection, without deques: an empty one takes 620 bytes, and it holds three."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl


class LightEvent:
    """What uvicorn uses of an `asyncio.Event`."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiters: list[asyncio.Future[None]] | None = None

    def set(self) -> None:
        """Let everybody go who waits."""
        self._is_set = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Let who comes from now on wait."""
        self._is_set = False

    async def wait(self) -> bool:
        """Return once it was set."""
        if not self._is_set:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter
        return True


class LightFlow(FlowControl):
    """Flow control with such an event."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = LightEvent(is_set=True)


class LightPipeline(list[Any]):
    """What uvicorn uses of a deque for requests that are sent before the last one is answered."""

    def appendleft(self, item: Any) -> None:
        """Put it at the front."""
        self.insert(0, item)
