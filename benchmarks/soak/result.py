"""What a run is asked for, what is measured while it goes on, and what comes of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.meters import Connections, Held, Metrics

MARK_S: Final = 60.0
"""From when on the memory must not grow any more."""
AROUND_S: Final = 5.0
"""A figure of memory is the median of this long before and after its time."""
_JUDGED_S: Final = 180.0


class Options(msgspec.Struct, frozen=True):
    """What is run."""

    seconds: float = 600.0
    streams: int = 500
    seed: int = 1
    longest_s: float = 32.0
    """The longest answer. A quarter more, and the retention, are `MARK_S`; later, memory is not steady by then."""

    @property
    def judges_memory(self) -> bool:
        """Whether it is long enough to say anything about memory, and for idle connections to be closed after it."""
        return self.seconds >= _JUDGED_S


class Sample(msgspec.Struct, frozen=True):
    """One look at both processes."""

    at_s: float
    server: Held
    mock: Held
    own_cpu_s: float
    metrics: Metrics
    stats: Any
    """The mock's."""
    sockets: Connections
    readers: int
    """Bodies that are being read."""

    @property
    def pool(self) -> int:
        """Connections to the upstream that are kept for the next request: nothing runs on them."""
        return self.sockets.to_upstream - self.metrics.of("headrace_num_requests_running")


class Result(msgspec.Struct):
    """All that the report says."""

    options: Options
    ledger: Ledger
    samples: list[Sample]
    before: Sample
    after: Sample
    load_s: float
    """Until the last stream was checked."""

    def rss_mb(self, at_s: float) -> float:
        """The server's memory around a time; 0 when nobody looked."""
        found = sorted(each.server.rss_mb for each in self.samples if abs(each.at_s - at_s) <= AROUND_S)
        return found[len(found) // 2] if found else 0.0

    @property
    def first_rss_mb(self) -> float:
        """After the first minute."""
        return self.rss_mb(MARK_S)

    @property
    def last_rss_mb(self) -> float:
        """When the load ends."""
        return self.rss_mb(self.options.seconds - AROUND_S)

    @property
    def growth(self) -> float:
        """From the one to the other, as a share."""
        return self.last_rss_mb / self.first_rss_mb - 1 if self.first_rss_mb else 0.0
