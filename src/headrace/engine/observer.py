"""What the engine tells whoever measures or logs: what happened to streams, for many tokens at a time.

Observers are called inside the event loop, so they only count and write: none may wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from headrace.events import StreamStart, Terminal, Usage

log = logging.getLogger("headrace.engine")


class Source(msgspec.Struct, frozen=True):
    """Where a stream's answer comes from, in words of the configuration: there are only so many of them."""

    model: str = ""
    """The configured name or pattern, not the one that the caller made up for a wildcard."""
    provider: str = ""


class Content(msgspec.Struct, frozen=True):
    """What was asked and what was answered."""

    request: bytes
    """The first MiB of a long one."""
    answer: str


class Ended(msgspec.Struct, frozen=True):
    """One stream from its beginning to its end. Times are in seconds."""

    start: StreamStart
    source: Source
    upstream_model: str
    request_id: str | None
    """`X-Request-Id` of the request that made the stream; None where another node had it."""
    terminal: Terminal
    at: float
    """Unix time of the end."""
    duration: float
    """From acceptance to the terminal record."""
    ttft: float | None
    """From acceptance to the first content; None when there was none (P26)."""
    usage: Usage
    retries: int
    readers: int
    """Readers that were attached at any time before the end."""
    resumes: int
    """Those among them that went on from a position."""
    records: int
    """Records that the stream wrote."""
    bytes: int | None = None
    """Size of the log as the store accounts for it; None where there is none any more."""
    content: Content | None = None
    """Only where `log_content` allows it (P36)."""


class Observer:
    """Hears everything and does nothing about it; an observer overrides what it wants to know."""

    def first_content(self, source: Source, ttft: float) -> None:
        """A stream said its first text, reasoning or tool argument, `ttft` seconds after it was accepted (P26)."""

    def content(self, source: Source, gaps: Sequence[float], at_once: int) -> None:
        """A stream said more: a chunk after each of these gaps, in seconds, and `at_once` that came in the same reads.

        Told for many reads together, and of all at the stream's end.
        """

    def upstream_closed(self, source: Source, seconds: float) -> None:
        """A cancelled stream's upstream is closed and its log ended, so long after somebody said stop (P7)."""

    def resumed(self) -> None:
        """A reader goes on from a position."""

    def ended(self, stream: Ended) -> None:
        """A stream has its terminal record, or could not be given one.

        Told exactly once: of a stream that several nodes produced, by the one that ended it.
        """

    def archived(self, result: str) -> None:
        """Somebody tried to archive an ended stream: it is `archived`, has `failed` for now, or is `lost`."""


class Observers(Observer):
    """All of them as one. What one makes of the news is no stream's problem: its failure is logged, and that is all."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        """Who does not override a method is not asked."""
        observers = tuple(observers)
        self._first_content = [each.first_content for each in observers if _wants(each, Observer.first_content)]
        self._content = [each.content for each in observers if _wants(each, Observer.content)]
        self._upstream_closed = [each.upstream_closed for each in observers if _wants(each, Observer.upstream_closed)]
        self._resumed = [each.resumed for each in observers if _wants(each, Observer.resumed)]
        self._ended = [each.ended for each in observers if _wants(each, Observer.ended)]
        self._archived = [each.archived for each in observers if _wants(each, Observer.archived)]

    def first_content(self, source: Source, ttft: float) -> None:
        """See `Observer`."""
        _tell(self._first_content, source, ttft)

    def content(self, source: Source, gaps: Sequence[float], at_once: int) -> None:
        """See `Observer`."""
        _tell(self._content, source, gaps, at_once)

    def upstream_closed(self, source: Source, seconds: float) -> None:
        """See `Observer`."""
        _tell(self._upstream_closed, source, seconds)

    def resumed(self) -> None:
        """See `Observer`."""
        _tell(self._resumed)

    def ended(self, stream: Ended) -> None:
        """See `Observer`."""
        _tell(self._ended, stream)

    def archived(self, result: str) -> None:
        """See `Observer`."""
        _tell(self._archived, result)


def _wants(observer: Observer, method: Callable[..., None]) -> bool:
    return getattr(type(observer), method.__name__) is not method


def _tell(observers: Iterable[Callable[..., None]], *news: object) -> None:
    for each in observers:
        try:
            each(*news)
        except Exception:
            log.exception("%s failed", type(getattr(each, "__self__", each)).__name__)
