"""How one stream goes, on the monotonic clock: time to first token, gaps, and what there was of everything (P26)."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.engine.observer import Observer, Source
from headrace.events import ArgsDelta, Chunk, Record, TextDelta

TOGETHER = 32
"""Reads of which the observer is told at once: a second's worth, and a tenth of what telling each would cost."""


def says(chunk: Chunk | Record) -> bool:
    """Whether it has text, reasoning or a piece of a tool's arguments; all else is framing, and so are empty ones."""
    for event in chunk.events:
        if isinstance(event, TextDelta):
            if event.text:  # logprobs come with an empty one, also beside the role
                return True
        elif isinstance(event, ArgsDelta) and event.json:
            return True
    return False


class Measurement:
    """One stream's times and counts; the observer hears of them as they come, once per read."""

    __slots__ = (
        "_at_once",
        "_continued",
        "_gaps",
        "_observer",
        "_told_to_stop",
        "began",
        "ended",
        "readers",
        "resumes",
        "retries",
        "said",
        "source",
        "ttft",
    )

    def __init__(self, source: Source, observer: Observer, now: float, *, continued: bool = False) -> None:
        """`now` is when the request was accepted: waiting for a turn and retries count towards the first token.

        Of an answer that is `continued` nobody here knows when that was, nor when its first content came.
        """
        self.source = source
        self.began = now
        self.said: float | None = None
        """When content came last; later by the length of every pause that was ours."""
        self.ended: float | None = None
        """When the terminal record was written; a provider may still be handing its connection back after that."""
        self.ttft: float | None = None
        self.retries = 0
        self.readers = 0
        self.resumes = 0
        self._continued = continued
        self._observer = observer
        self._gaps: list[float] = []
        self._at_once = 0
        self._told_to_stop: float | None = None

    def note(self, batch: Sequence[Chunk], now: float) -> bool:
        """A read has brought a batch; whether it says something."""
        chunks = says(batch[0]) if len(batch) == 1 else sum(map(says, batch))
        if not chunks:
            return False
        last, self.said = self.said, now
        if last is None:
            if not self._continued:
                self.ttft = now - self.began
                self._observer.first_content(self.source, self.ttft)
            last, chunks = now, chunks - 1
        if chunks:
            self._gaps.append(now - last)
            self._at_once += chunks - 1
            if len(self._gaps) == TOGETHER:
                self.tell()
        return True

    def tell(self) -> None:
        """Let the observer hear of what it has not been told yet."""
        if self._gaps:
            gaps, self._gaps = self._gaps, []
            at_once, self._at_once = self._at_once, 0
            self._observer.content(self.source, gaps, at_once)

    def paused(self, seconds: float) -> None:
        """Nothing was read for so long, and not because of the upstream."""
        if self.said is not None:
            self.said += seconds

    def told_to_stop(self, now: float) -> None:
        """Somebody cancels the stream; the first time counts."""
        if self._told_to_stop is None:
            self._told_to_stop = now

    def stopped(self, now: float) -> None:
        """The upstream of a cancelled stream is closed and the log has its end."""
        if self._told_to_stop is not None:
            self._observer.upstream_closed(self.source, now - self._told_to_stop)
