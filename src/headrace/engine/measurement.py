"""How one stream goes, on the monotonic clock: time to first token, gaps, and what there was of everything (P26)."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.engine.observer import Observer, Source
from headrace.events import CONTENT, Chunk


def content_chunks(batch: Sequence[Chunk]) -> int:
    """Chunks that say something: text, reasoning or a tool's arguments. Framing and pings say nothing (P20, P26)."""
    count = 0
    for chunk in batch:
        for event in chunk.events:
            if isinstance(event, CONTENT):
                count += 1
                break
    return count


class Measurement:
    """One stream's times and counts; observers hear of them as they come, once per read."""

    def __init__(self, source: Source, observers: Sequence[Observer], now: float) -> None:
        """`now` is when the request was accepted: waiting for a turn and retries count towards the first token."""
        self.source = source
        self.began = now
        self.said: float | None = None
        """When content came last; later by the length of every pause that was ours."""
        self.ttft: float | None = None
        self.retries = 0
        self.readers = 0
        self.resumes = 0
        self._observers = observers
        self._told_to_stop: float | None = None

    def note(self, batch: Sequence[Chunk], now: float) -> bool:
        """A read has brought a batch; whether it says something."""
        chunks = content_chunks(batch)
        if not chunks:
            return False
        last, self.said = self.said, now
        if last is None:
            self.ttft = now - self.began
            for observer in self._observers:
                observer.first_content(self.source, self.ttft)
            last, chunks = now, chunks - 1
        if chunks:
            for observer in self._observers:
                observer.content(self.source, now - last, chunks)
        return True

    def paused(self, seconds: float) -> None:
        """Nothing was read for so long, and not because of the upstream."""
        if self.said is not None:
            self.said += seconds

    def resumed(self) -> None:
        """A reader goes on from a position."""
        self.resumes += 1

    def told_to_stop(self, now: float) -> None:
        """Somebody cancels the stream; the first time counts."""
        if self._told_to_stop is None:
            self._told_to_stop = now

    def stopped(self, now: float) -> None:
        """The upstream is closed and the log has its end."""
        if self._told_to_stop is not None:
            for observer in self._observers:
                observer.upstream_closed(self.source, now - self._told_to_stop)
