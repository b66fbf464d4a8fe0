"""What is seen while a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from headrace.bench.connection import clock
from headrace.bench.measurement import Measurement
from headrace.bench.plan import Load

# Drawing takes a fraction of a millisecond, in which no byte is read: often enough to be live, too seldom to matter.
_EVERY_S: Final = 0.5
_BAR: Final = 24


class Progress:
    """One line on a terminal; nothing where there is none."""

    def __init__(self, labels: Sequence[str], load: Load, console: Console) -> None:
        self._labels = labels
        self._load = load
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next = 0.0
        self._seen: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def __call__(self, number: int, measurement: Measurement, elapsed: float) -> None:
        """Draw, if it is time to; see `run.Watch`."""
        now = clock()
        if now < self._next or not self._live.is_started:
            return
        self._next = now + _EVERY_S
        since, chunks = self._seen
        rate = (measurement.live.chunks - chunks) / (now - since) if since else 0.0
        self._seen = (now, measurement.live.chunks)
        self._live.update(Text(self._line(number, measurement, elapsed, max(0.0, rate))), refresh=True)

    def _line(self, number: int, measurement: Measurement, elapsed: float, rate: float) -> str:
        done = measurement.completed + measurement.failed
        if self._load.num_prompts is None:
            share = elapsed * self._load.rounds / (self._load.duration or elapsed or 1)
        else:
            share = done / self._load.num_prompts
        filled = round(min(1.0, share) * _BAR)
        place = f"[{number + 1}/{len(self._labels)}] " if len(self._labels) > 1 else ""
        failed = f", {measurement.failed} failed" if measurement.failed else ""
        return (
            f"{place}{self._labels[number]}  {'━' * filled}{'╌' * (_BAR - filled)} {done} done{failed}, "
            f"{measurement.running} running, {rate:,.0f} chunks/s"
        )
