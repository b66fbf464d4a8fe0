"""Answers that were recorded: for demonstrations, for tests, and for looking at a stream again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

import anyio
import anyio.lowlevel

from headrace.dialects.base import unsupported
from headrace.events import Chunk
from headrace.messages import Request
from headrace.providers.recording import NAME, Recording, again, from_chunks, read

Speed = Literal["recorded", "instant"]


class ReplayProvider:
    """Gives the same answer to every question."""

    name = NAME

    def __init__(
        self,
        recording: Path | str | Sequence[Chunk],
        speed: Speed = "recorded",
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        """`recording` is a file, or chunks that end with a `StepEnd`; `sleep` takes seconds."""
        self._source = Path(recording) if isinstance(recording, Path | str) else from_chunks(recording)
        self._speed: Speed = speed
        self._sleep = sleep

    def check(self, request: Request) -> None:
        """A recording answers whatever is asked, always from its beginning on."""
        if request.continues:
            raise unsupported("messages", "A recording cannot go on in the middle.")

    async def start(self) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, naming the line.
        """
        await self._load()

    async def close(self) -> None:
        """Nothing is open."""

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """Give the answer at the recorded pace, one list per recorded read: see `Provider.stream`.

        A recording that does not end well raises its own error at its end: `StreamCancelled` where it was stopped,
        `UpstreamIncomplete` where its end is missing.
        """
        recording = await self._load()
        for take in recording.takes:
            await self._pass(take.after_ms)
            yield list(take.chunks)
        if recording.error is not None:
            await self._pass(recording.error_after_ms)
            raise again(recording.error)

    async def _pass(self, milliseconds: int) -> None:
        if milliseconds and self._speed == "recorded":
            await self._sleep(milliseconds / 1000)
        else:
            await anyio.lowlevel.checkpoint()  # or nobody could stop an instant answer, nor read it while it comes

    async def _load(self) -> Recording:
        if isinstance(self._source, Path):
            self._source = await read(self._source)
        return self._source
