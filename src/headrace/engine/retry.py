"""Whether a failed request is sent to the upstream again, and after how long (P21). Pure: draws and times come in."""

from __future__ import annotations

import msgspec

from headrace.config.schema import CallSettings
from headrace.errors import HeadraceError

LONGEST_RETRY_AFTER = 60.0
"""Seconds; a `Retry-After` beyond it is the caller's to wait for. As the OpenAI client."""
_JITTER = 0.25
"""The share of a wait that is drawn. As the OpenAI client."""


class Backoff(msgspec.Struct, frozen=True):
    """Exponential, with jitter; `retries` is how often at most, the other two are seconds."""

    retries: int
    shortest: float
    longest: float

    @classmethod
    def of(cls, settings: CallSettings) -> Backoff:
        """As a model is configured."""
        return cls(settings.retries, settings.retry_backoff, settings.retry_backoff_max)

    def wait(self, error: HeadraceError, attempt: int, draw: float, left: float) -> float | None:
        """Seconds until the next try; None when there is none and the error is the answer.

        `attempt` counts the tries before this one from 0, `draw` is in [0, 1), `left` is what the deadlines leave: a
        wait that would use it up is not begun. Never sooner than the upstream's own `Retry-After`.
        """
        if not error.may_retry or attempt >= self.retries:
            return None
        asked = error.retry_after or 0.0
        if asked > LONGEST_RETRY_AFTER:
            return None
        wait = max(asked, self._pause(attempt) * (1 - _JITTER * draw))
        return wait if wait < left else None

    def _pause(self, attempt: int) -> float:
        # Capped: 2.0**1024 is an OverflowError, and nobody tries a thousand times.
        return min(self.shortest * 2.0 ** min(attempt, 1000), self.longest)
