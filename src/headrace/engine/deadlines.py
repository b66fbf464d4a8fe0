"""How long an upstream may take: to its first token, between two tokens, in all (P20).

The fourth deadline, the connection's, belongs to the provider. No timer is set per stream or per token: a relay notes
the time of its last content, once per batch, and one task of the engine looks at all relays.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.config import Config
from headrace.config.schema import CallSettings
from headrace.errors import UpstreamTimeout
from headrace.events import CONTENT, Chunk

_TICKS = 8
"""Looks per deadline: one that has passed is noticed at most an eighth of it late."""
_LONGEST_TICK = 1.0
_SHORTEST_TICK = 0.01


def has_content(batch: Sequence[Chunk]) -> bool:
    """Whether a batch says something: text, reasoning or a tool's arguments. Framing and pings are none (P20, P26)."""
    return any(isinstance(event, CONTENT) for chunk in batch for event in chunk.events)


def tick_of(config: Config) -> float:
    """Seconds between two looks at all relays, by the shortest deadline of any model."""
    models: tuple[CallSettings, ...] = (config, *config.models)
    shortest = min(min(each.ttft_timeout, each.stream_idle_timeout, each.total_timeout) for each in models)
    return max(_SHORTEST_TICK, min(_LONGEST_TICK, shortest / _TICKS))


class Deadlines:
    """Those of one stream, on the monotonic clock."""

    def __init__(self, settings: CallSettings, now: float) -> None:
        """They count from `now`, when the request was accepted: waiting for a turn counts towards the first token."""
        self._settings = settings
        self._began = now
        self._said: float | None = None

    def note(self, batch: Sequence[Chunk], now: float) -> bool:
        """A batch has arrived; whether it says something."""
        if has_content(batch):
            self._said = now
            return True
        return False

    def passed(self, now: float) -> UpstreamTimeout | None:
        """The deadline that has passed, as the error that the stream ends with."""
        settings = self._settings
        if now - self._began >= settings.total_timeout:
            # Whoever asks again waits as long again, for the same end.
            return UpstreamTimeout(
                f"The answer was not complete after {settings.total_timeout:g} s (total_timeout).",
                code="upstream_total_timeout",
                retryable=False,
            )
        if self._said is None:
            if now - self._began >= settings.ttft_timeout:
                return UpstreamTimeout(
                    f"The model said nothing for {settings.ttft_timeout:g} s (ttft_timeout).",
                    code="upstream_ttft_timeout",
                )
        elif now - self._said >= settings.stream_idle_timeout:
            return UpstreamTimeout(
                f"The model stopped in the middle: nothing for {settings.stream_idle_timeout:g} s "
                "(stream_idle_timeout).",
                code="upstream_idle_timeout",
            )
        return None

    def left(self, now: float) -> float:
        """Seconds that are left for the first token."""
        return self._began + min(self._settings.ttft_timeout, self._settings.total_timeout) - now
