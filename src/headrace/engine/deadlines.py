"""How long an upstream may take: to its first token, between two tokens, in all (P20).

The fourth deadline, the connection's, belongs to the provider. No timer is set per stream or per token: a stream's
measurement has the time of its last content, and one task of the engine looks at all relays.
"""

from __future__ import annotations

from headrace.config import Config
from headrace.config.schema import CallSettings
from headrace.engine.measurement import Measurement
from headrace.errors import UpstreamTimeout

_TICKS = 8
"""Looks per deadline: one that has passed is noticed at most an eighth of it late."""
_LONGEST_TICK = 1.0
_SHORTEST_TICK = 0.01


def tick_of(config: Config) -> float:
    """Seconds between two looks at all relays, by the shortest deadline of any model."""
    models: tuple[CallSettings, ...] = (config, *config.models)
    shortest = min(min(each.ttft_timeout, each.stream_idle_timeout, each.total_timeout) for each in models)
    return max(_SHORTEST_TICK, min(_LONGEST_TICK, shortest / _TICKS))


class Deadlines:
    """Those of one stream, on the monotonic clock."""

    def __init__(self, settings: CallSettings, measurement: Measurement) -> None:
        """They count from the measurement's beginning: waiting for a turn counts towards the first token."""
        self._settings = settings
        self._measurement = measurement
        self.paused = False
        """Whether it is us who does not read; meanwhile the idle deadline does not count."""

    def passed(self, now: float) -> UpstreamTimeout | None:
        """The deadline that has passed, as the error that the stream ends with."""
        settings = self._settings
        measured = self._measurement
        if now - measured.began >= settings.total_timeout:
            # Whoever asks again waits as long again, for the same end.
            return UpstreamTimeout(
                f"The answer was not complete after {settings.total_timeout:g} s (total_timeout).",
                code="upstream_total_timeout",
                retryable=False,
            )
        if measured.said is None:
            if now - measured.began >= settings.ttft_timeout:
                return UpstreamTimeout(
                    f"The model said nothing for {settings.ttft_timeout:g} s (ttft_timeout).",
                    code="upstream_ttft_timeout",
                )
        elif not self.paused and now - measured.said >= settings.stream_idle_timeout:
            return UpstreamTimeout(
                f"The model stopped in the middle: nothing for {settings.stream_idle_timeout:g} s "
                "(stream_idle_timeout).",
                code="upstream_idle_timeout",
            )
        return None

    def left(self, now: float) -> float:
        """Seconds that are left for the first token."""
        return self._measurement.began + min(self._settings.ttft_timeout, self._settings.total_timeout) - now
