"""The loads: what is asked of a server, and what the mock behind it is told."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["hold", "rush", "cycle"]


class Load(msgspec.Struct, frozen=True):
    """One load, as the client is told it. All times are seconds."""

    name: str
    kind: Kind
    """`hold`: all streams run during a window; `rush`: as fast as they go; `cycle`: short ones, one after the other."""
    streams: int
    """At a time."""
    tokens: int
    """Of each stream."""
    gap: float = 0.0
    """Between two tokens of a stream."""
    ramp: float = 0.0
    """In which the streams are started."""
    settle: float = 1.0
    """From the last stream's first byte to the window."""
    window: float = 0.0
    """In which is measured; for `cycle`, in which streams begin."""

    @property
    def rate(self) -> float:
        """Events per second; 0 if nobody says how many."""
        return self.streams / self.gap if self.gap else 0.0

    @property
    def mock_options(self) -> list[str]:
        """How the mock answers."""
        return ["--stamp", "--tokens", str(self.tokens), "--gap", f"{self.gap:.6f}"]


_PACED: Final = 100
_SLACK_S: Final = 3.0
"""How much longer a stream lives than its window, for servers that are late."""


def held(name: str, streams: int, rate: float, seconds: float, *, ramp: float = 2.0) -> Load:
    """Streams that all run for `seconds`; `rate` is of all together."""
    gap = streams / rate
    lives = ramp + 1.0 + seconds + _SLACK_S
    return Load(name, "hold", streams, round(lives / gap) + 1, gap, ramp, window=seconds)


def paced(rate: int, seconds: float) -> Load:
    """100 streams at a steady rate."""
    return held(f"paced/{rate}", _PACED, rate, seconds)


def saturation(tokens: int) -> Load:
    """50 streams without a gap."""
    return Load("saturation", "rush", 50, tokens)


def ttft(seconds: float) -> Load:
    """20 at a time, each 0.4 s long: 50 begin in a second."""
    return Load("ttft", "cycle", 20, 20, 0.02, ramp=0.4, window=seconds)


def rss(streams: int, connects: float) -> Load:
    """Open streams with a token every two seconds."""
    return held(f"rss/{streams}", streams, streams / 2, 2.0, ramp=streams / connects)
