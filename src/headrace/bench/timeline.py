"""What happened when, in as many points as fit on a screen."""

from __future__ import annotations

from typing import Final

import msgspec

LIMIT: Final = 600
"""Points kept; then two neighbours become one. Runs of any length have 300 to 600 of them."""


class Point(msgspec.Struct, gc=False):
    """A stretch of time."""

    seconds: float
    chunks: int
    """Events with content."""
    completed: int
    failed: int
    running: float
    """Requests at the same time, on average."""

    def plus(self, other: Point) -> Point:
        """Both together."""
        seconds = self.seconds + other.seconds
        area = self.running * self.seconds + other.running * other.seconds
        return Point(
            seconds,
            self.chunks + other.chunks,
            self.completed + other.completed,
            self.failed + other.failed,
            area / seconds if seconds else 0.0,
        )


class Timeline:
    """Points one after the other, without gaps; a pause between two rounds is not in it."""

    def __init__(self, limit: int = LIMIT) -> None:
        """`limit` is even."""
        self.points: list[Point] = []
        self._limit = limit
        self._merged = 1  # so many points of the caller are one of these
        self._open: Point | None = None
        self._in_open = 0

    def add(self, point: Point) -> None:
        """Go on by one point."""
        self._open = point if self._open is None else self._open.plus(point)
        self._in_open += 1
        if self._in_open == self._merged:
            self.flush()
        if len(self.points) == self._limit:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [first.plus(second) for first, second in pairs]
            self._merged *= 2

    def flush(self) -> None:
        """Let the last point be as short as it is."""
        if self._open is not None:
            self.points.append(self._open)
            self._open = None
            self._in_open = 0
