"""What Prometheus reads at `/metrics`; docs/operations.md lists it.

Labels are words of the configuration and of a fixed or capped number of codes, never of a caller: one time series per
made-up model name would be an attack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.engine.engine import Load
from headrace.engine.observer import Ended, Observer, Source
from headrace.events import Cancelled, Failed, Finished, Terminal
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

_MOST_CODES = 100
"""An upstream may invent codes; what comes after these many is counted as `other`."""
_LONGEST_CODE = 64


class Metrics(Observer):
    """One server's numbers."""

    def __init__(self) -> None:
        """Nothing is registered globally: two servers of one process do not mix."""
        self.registry = CollectorRegistry()
        self._ttft = Histogram(
            "headrace_time_to_first_token_seconds",
            "From the acceptance of a request to its first content: text, reasoning or a tool's argument.",
            _TTFT_BUCKETS,
        )
        self._gaps = Histogram(
            "headrace_inter_token_latency_seconds",
            "Between two upstream chunks with content; chunks of one read but the first came at once.",
            _GAP_BUCKETS,
        )
        self._cancels = Histogram(
            "headrace_upstream_cancel_seconds",
            "From a cancel to its upstream closed and the end in the log.",
            _CANCEL_BUCKETS,
        )
        for histogram in (self._ttft, self._gaps, self._cancels):
            self.registry.register(_Collector(histogram.collect))
        by_source = ("model", "provider")
        self._ended = self._counter("streams_ended", "Streams by how they ended.", (*by_source, "state", "code"))
        self._prompt = self._counter("prompt_tokens", "Input tokens of ended streams.", (*by_source, "source"))
        self._generated = self._counter("generation_tokens", "Output tokens of ended streams.", (*by_source, "source"))
        self._retries = self._counter("upstream_retries", "Requests that were sent upstream again.", by_source)
        self._resumes = self._counter("stream_resumes", "Readers that went on from a position.", ())
        self._responses = self._counter("http_responses", "HTTP answers by status.", ("status",))
        self._codes: set[str] = set()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"headrace_{name}", help_text, labels, registry=self.registry)

    def watch(self, load: Callable[[], Load]) -> None:
        """Read, at every scrape, what runs. Nothing is counted up and down, so nothing can be forgotten."""

        def collect() -> Iterator[GaugeMetricFamily]:
            now = load()
            yield _gauge("streams_active", "Streams that have not ended.", now.streams)
            yield _gauge("num_requests_running", "Upstream requests that are not closed.", now.requests)
            yield _gauge("stream_readers", "Readers that are attached.", now.readers)
            yield _gauge("slots_in_use", "Slots of max_running_per_key that are taken.", now.slots)
            yield _gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))

        self.registry.register(_Collector(collect))

    def responded(self, status: int) -> None:
        """An HTTP answer has begun."""
        self._responses.labels(str(status)).inc()

    def first_content(self, source: Source, ttft: float) -> None:
        """See `Observer`."""
        self._ttft.observe(source, ttft)

    def content(self, source: Source, gap: float, chunks: int) -> None:
        """See `Observer`."""
        self._gaps.observe(source, gap, chunks - 1)

    def upstream_closed(self, source: Source, seconds: float) -> None:
        """See `Observer`."""
        self._cancels.observe(source, seconds)

    def resumed(self) -> None:
        """See `Observer`."""
        self._resumes.inc()

    def ended(self, stream: Ended) -> None:
        """See `Observer`."""
        source, usage = (stream.source.model, stream.source.provider), stream.usage
        state, code = outcome(stream.terminal)
        self._ended.labels(*source, state, self._known(code)).inc()
        self._prompt.labels(*source, usage.source).inc(usage.input)
        self._generated.labels(*source, usage.source).inc(usage.output)
        self._retries.labels(*source).inc(stream.retries)

    def _known(self, code: str) -> str:
        if len(self._codes) < _MOST_CODES:
            self._codes.add(code[:_LONGEST_CODE])
        return code if code in self._codes else "other"


def outcome(terminal: Terminal) -> tuple[str, str]:
    """State and code: the finish reason, the error's code, or who cancelled."""
    match terminal:
        case Finished(reason):
            return "finished", reason
        case Failed(code):
            return "failed", code
        case Cancelled(by):
            return "cancelled", by


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_{name}", help_text, value)


class _Collector(Collector):
    """A function as Prometheus' client wants to have it."""

    def __init__(self, collect: Callable[[], Iterator[GaugeMetricFamily] | Iterator[object]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[object]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._collect()

    def describe(self) -> Iterator[object]:  # without it, registering would collect
        return iter(())
