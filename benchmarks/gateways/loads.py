"""The loads: what is asked of a server, and what the mock behind it is told."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["hold", "rush", "cycle", "fanout", "resume"]


class Load(msgspec.Struct, frozen=True):
    """One load, as the client is told it. All times are seconds."""

    name: str
    kind: Kind
    """`hold`: all streams run during a window; `rush`: as fast as they go; `cycle`: short ones, one after the other;
    `fanout`: as `hold`, but they are readers of one stream; `resume`: as `cycle`, but an old answer is read on."""
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
    every: float = 0.0
    """From one request of a place to its next, for `resume` and `cycle`; 0: at once when the one before is over."""
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


def held(name: str, streams: int, rate: float, seconds: float, *, ramp: float = 2.0, slack: float = 3.0) -> Load:
    """Streams that all run for `seconds`; `rate` is of all together. They live `slack` seconds longer,
    for servers that are late."""
    gap = streams / rate
    lives = ramp + 1.0 + seconds + slack
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
    return held(f"rss/{streams}", streams, streams / 2, 2.0, ramp=streams / connects, slack=15.0)


def fanout(readers: int, seconds: float) -> Load:
    """One stream of ten tokens a second and its readers."""
    load = held(f"fanout/{readers}", readers, readers * 10, seconds)
    return msgspec.structs.replace(load, kind="fanout")


def resume(seconds: float) -> Load:
    """An answer of 1,000 tokens, read on from anywhere: 20 connections, 50 times a second."""
    return Load("resume", "resume", 20, 1_000, ramp=0.4, every=0.4, window=seconds)


def crowd(streams: int, seconds: float, connects: float) -> Load:
    """5,000 events a second, of few streams or of many."""
    return held(
        f"streams/{streams}", streams, 5_000, seconds, ramp=max(2.0, streams / connects), slack=3 + streams / 500
    )


def length(tokens: int, seconds: float) -> Load:
    """Ten streams at a time without a gap, short or long."""
    return Load(f"length/{tokens}", "cycle", 10, tokens, window=seconds)
