"""Cancel requests on their way to the engine."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator

from headrace.stores.waiters import Waiters


class Cancels:
    """By stream, each once; iterating takes them out."""

    def __init__(self) -> None:
        self._pending: OrderedDict[str, str] = OrderedDict()
        self._consumers = Waiters()
        self._closed = False

    def put(self, stream_id: str, by: str) -> None:
        """Somebody asks for this stream's end."""
        self._pending[stream_id] = by
        self._consumers.wake()

    def drop(self, stream_id: str) -> None:
        """The stream has ended."""
        self._pending.pop(stream_id, None)

    def close(self) -> None:
        """End the iteration once nothing is left."""
        self._closed = True
        self._consumers.wake()

    def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        return self

    async def __anext__(self) -> tuple[str, str]:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            await self._consumers.wait()
        return self._pending.popitem(last=False)
