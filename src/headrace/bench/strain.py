"""Whether the load tester itself was the bottleneck."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from headrace.bench.connection import clock
from headrace.bench.sample import Sample

BUSY: Final = 0.8
"""Of one core: above it, requests wait for this process as much as for the server."""
LATE_S: Final = 0.01
"""A read that this process comes late to is measured late; more than this in one of a hundred is worth a word."""


class Strain:
    """The time that this process used of one core, and how late its event loop was, while a series ran."""

    def __init__(self) -> None:
        self.lateness = Sample()
        self._cpu = self._wall = 0.0
        self._begun = (0.0, 0.0)

    def begin(self) -> None:
        """A round begins."""
        self._begun = (time.process_time(), clock())

    def end(self) -> None:
        """The round is over."""
        cpu, wall = self._begun
        self._cpu += time.process_time() - cpu
        self._wall += clock() - wall

    @property
    def cpu_share(self) -> float:
        """Of one core, from 0 to 1; over 1 only if something else runs in this process."""
        return self._cpu / self._wall if self._wall else 0.0

    @property
    def late_s(self) -> float:
        """The 99th percentile of the lateness."""
        summary = self.lateness.summary((99,))
        return summary.percentiles[99] if summary else 0.0


def warnings(strains: Sequence[Strain]) -> Iterator[str]:
    """What to say about it; nothing when all is well."""
    share = max((strain.cpu_share for strain in strains), default=0.0)
    if share >= BUSY:
        yield (
            f"this client was busy up to {share:.0%} of the time, so the figures are partly its own: "
            "share the load between several processes or machines"
        )
    late = max((strain.late_s for strain in strains), default=0.0)
    if late >= LATE_S:
        yield (
            f"this client came up to {late * 1000:.0f} ms late to read (99th percentile of a series), so times may be "
            "too long by as much: run it on a machine, or a core, with less to do"
        )
