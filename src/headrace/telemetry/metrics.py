"""What Prometheus reads at `/metrics`; docs/operations.md lists it.

Labels are words of the configuration and of a fixed or capped number of codes, never of a caller: one time series per
made-up model name would be an attack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

from headrace.engine.engine import Load
from headrace.engine.observer import Ended, Observer, Source
from headrace.engine.outcomes import OTHER, outcome
from headrace.telemetry.counter import Counter
from headrace.telemetry.histogram import Histogram

# vLLM's buckets for the same two, so that one dashboard shows both sides.
_TTFT_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_GAP_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_CANCEL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_BY_SOURCE = ("model", "provider")

_MOST_CODES = 100
"""An upstream may invent codes and finish reasons; what comes after these many is counted as `OTHER`."""


class Metrics(Observer):
    """One server's numbers."""

    def __init__(self) -> None:
        """Nothing is registered globally: two servers of one process do not mix."""
        self.registry = CollectorRegistry()
        self._codes = {OTHER}
        self._ttft = self._histogram(
            "time_to_first_token_seconds",
            "From the acceptance of a request to its first content: text, reasoning or a tool's argument.",
            _TTFT_BUCKETS,
        )
        self._gaps = self._histogram(
            "inter_token_latency_seconds",
            "Between two upstream chunks with content; chunks of one read but the first came at once.",
            _GAP_BUCKETS,
        )
        self._cancels = self._histogram(
            "upstream_cancel_seconds", "From a cancel to its upstream closed and the end in the log.", _CANCEL_BUCKETS
        )
        self._ended = self._counter("streams_ended", "Streams by how they ended.", *_BY_SOURCE, "state", "code")
        self._prompt = self._counter("prompt_tokens", "Input tokens of ended streams.", *_BY_SOURCE, "source")
        self._generated = self._counter("generation_tokens", "Output tokens of ended streams.", *_BY_SOURCE, "source")
        self._retries = self._counter("upstream_retries", "Requests that were sent upstream again.", *_BY_SOURCE)
        self._resumes = self._counter("stream_resumes", "Readers that went on from a position.")
        self._archived = self._counter("archived", "Tries to archive an ended stream.", "result")
        self._responses = self._counter("http_responses", "HTTP answers by status.", "status")
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(f"headrace_{name}", help_text, buckets)
        self.registry.register(histogram)
        return histogram

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        counter = Counter(f"headrace_{name}", help_text, labels)
        self.registry.register(counter)
        return counter

    def watch(self, load: Callable[[], Load]) -> None:
        """Read, at every scrape, what runs. Nothing is counted up and down, so nothing can be forgotten."""
        self.registry.register(_Gauges(load))

    def responded(self, status: int) -> None:
        """An HTTP answer has begun."""
        self._responses.add(1, str(status))

    def first_content(self, source: Source, ttft: float) -> None:
        """See `Observer`."""
        self._ttft.observe(source, ttft)

    def content(self, source: Source, gaps: Sequence[float], at_once: int) -> None:
        """See `Observer`."""
        self._gaps.observe(source, *gaps, at_once=at_once)

    def upstream_closed(self, source: Source, seconds: float) -> None:
        """See `Observer`."""
        self._cancels.observe(source, seconds)

    def resumed(self) -> None:
        """See `Observer`."""
        self._resumes.add(1)

    def ended(self, stream: Ended) -> None:
        """See `Observer`."""
        source, usage = (stream.source.model, stream.source.provider), stream.usage
        state, code = outcome(stream.terminal)
        self._ended.add(1, *source, state, self._known(code))
        self._prompt.add(usage.input, *source, usage.source)
        self._generated.add(usage.output, *source, usage.source)
        self._retries.add(stream.retries, *source)

    def archived(self, result: str) -> None:
        """See `Observer`."""
        self._archived.add(1, result)

    def _known(self, code: str) -> str:
        if code not in self._codes:
            if len(self._codes) == _MOST_CODES:
                return OTHER
            self._codes.add(code)
        return code


class _Gauges:
    """What runs now."""

    def __init__(self, load: Callable[[], Load]) -> None:
        self._load = load

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge of ours, read at this moment."""
        now = self._load()
        yield _gauge("streams_active", "Streams from their request until their upstream is closed.", now.streams)
        yield _gauge("num_requests_running", "Upstream requests that are not closed.", now.requests)
        yield _gauge("stream_readers", "Readers that are attached.", now.readers)
        yield _gauge("slots_in_use", "Slots of max_running_per_key that are taken.", now.slots)
        yield _gauge("archive_pending", "Ended streams that are not archived yet.", now.archiving)
        yield _gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_{name}", help_text, value)
