"""Tasks that wait for the same change."""

from __future__ import annotations

import asyncio


class Waiters:
    """A dict, because 10,000 of them may leave at once."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self) -> None:
        """Suspend until the next `wake`; whatever ends the waiting, nothing of it stays behind."""
        future = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        try:
            await future
        finally:
            self._futures.pop(future, None)

    def wake(self) -> None:
        """Let all of them run at the loop's next turn."""
        for future in self._futures:
            if not future.done():  # a task that was cancelled, and has not run since
                future.set_result(None)
        self._futures.clear()

    def fail(self, problem: Exception) -> None:
        """The same, and all of them raise this."""
        for future in self._futures:
            if not future.done():
                future.set_exception(problem)
        self._futures.clear()
