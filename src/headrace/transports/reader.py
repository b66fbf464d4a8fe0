"""A subscription seen through a view: frames, and the position that a resume continues from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio.lowlevel

from headrace.dialects.base import Dialect, View
from headrace.dialects.cursor import Cursor
from headrace.engine.subscription import Subscription
from headrace.errors import InvalidCursor
from headrace.events import RENDER_VERSION, Record, StepStart, Terminal


class Reader:
    """Frames of one stream in one shape, from a position on."""

    __slots__ = ("_left", "answered", "cursor", "dialect", "position", "subscription", "terminal", "view")

    def __init__(self, subscription: Subscription, dialect: Dialect, cursor: Cursor) -> None:
        """Nothing is read yet; `seek` must run before `next` when the cursor is not at the start."""
        self.subscription = subscription
        self.dialect = dialect
        self.cursor = cursor
        self.view = dialect.view(cursor.params)
        self.position = 0
        """Units before the frames that `next` gives out."""
        self.terminal: Terminal | None = None
        self.answered = False
        """Whether an upstream has answered, with anything but an error."""
        self._left: list[Any] = []

    async def seek(self) -> bool:
        """Fold up to the cursor, encoding nothing.

        Returns:
            Whether anything is left to read, now or later. False at the end of a stream that has ended.

        Raises:
            InvalidCursor: the cursor is beyond what the log holds, so nobody can have received that much.
        """
        target = self.cursor.position
        while self.position < target or not self._left:
            records = await self.subscription.available()
            if not records:
                break
            self._take(self._fold(records), target)
            await anyio.lowlevel.checkpoint()  # a long log must not hold up everybody else's tokens
        if self.position < target:
            raise InvalidCursor(
                f"The cursor is beyond the stream, which has {self.position} so far.", param="last_event_id"
            )
        return bool(self._left) or self.terminal is None

    def _take(self, frames: list[Any], target: int) -> None:
        """Move over the frames before `target` and keep the rest; a cut inside a frame keeps its tail."""
        for index, frame in enumerate(frames):
            if self.position >= target:
                self._left += frames[index:]
                return
            size = self.view.size(frame)
            over = self.position + size - target
            if over > 0:  # only where the unit is the byte: the frame itself is bytes
                self.position = target
                self._left.append(frame[size - over :])
            else:
                self.position += size

    async def wait_answered(self) -> None:
        """Return once an upstream has answered or the stream has ended; what comes meanwhile is kept for `next`.

        Safe to cancel: nothing is lost.
        """
        while not self.answered and self.terminal is None:
            self._left += self._fold(await self.subscription.next())

    async def next(self) -> list[Any]:
        """The next frames, at least one, waiting for them; empty only when the view is over.

        Safe to cancel: nothing is lost. The caller calls `advance` with what it wrote.
        """
        frames, self._left = self._left, []
        while not frames and self.terminal is None:
            frames = self._fold(await self.subscription.next())
        return frames

    def advance(self, frames: Sequence[Any]) -> None:
        """Move the position over frames that were written."""
        self.position += len(frames) if self.view.plain else sum(map(self.view.size, frames))

    @property
    def at_head(self) -> bool:
        """Whether everything that it has read is written, and there may be more."""
        return not self._left and self.terminal is None

    def go_on(self, view: View, position: int, after: int, frames: list[Any], terminal: Terminal | None) -> None:
        """Go on where somebody else has folded to: `after` the seq, with the frames that are still to be written."""
        self.view = view
        self.position = position
        self.terminal = terminal
        self._left = frames
        self.subscription.go_on(after, ended=terminal is not None)

    def _fold(self, records: Sequence[Record]) -> list[Any]:
        frames: list[Any] = []
        for record in records:
            frames += self.view.fold(record)
        if not self.answered:
            self.answered = any(isinstance(event, StepStart) for record in records for event in record.events)
        self.terminal = records[-1].terminal if records else self.terminal
        return frames

    def close(self) -> None:
        """Leave the stream."""
        self.subscription.close()


def start_of(dialect: Dialect, params: str) -> Cursor:
    """The cursor before the first frame of a view."""
    return Cursor(dialect.code, RENDER_VERSION, params, 0)
