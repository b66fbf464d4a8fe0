"""What one series has shown: counts, samples and a time line, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.bench.exchange import Live
from headrace.bench.outcome import Outcome
from headrace.bench.sample import Sample
from headrace.bench.strain import Strain
from headrace.bench.timeline import Point, Timeline

# No request of the same kind will fare better: the address, the key or the model is wrong.
_HOPELESS: Final = frozenset({"http_401", "http_403", "http_404", "http_405"})


class Metric(msgspec.Struct, frozen=True):
    """One quantity that has a distribution."""

    name: str
    title: str
    unit: str = "ms"

    @property
    def factor(self) -> float:
        """From seconds, or from what the unit says."""
        return 1000.0 if self.unit == "ms" else 1.0

    @property
    def key(self) -> str:
        """As in `mean_ttft_ms`."""
        return f"{self.name}_ms" if self.unit == "ms" else self.name


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("ttft", "Time to first token"),
        Metric("tpot", "Time per output token"),
        Metric("itl", "Gap between two chunks"),
        Metric("e2el", "End-to-end latency"),
        Metric("tps", "Tokens per second of one stream", "tok/s"),
        Metric("client_queue_time", "Wait for a free place in this client"),
    )
}


class Problem(msgspec.Struct):
    """Failures of one kind."""

    count: int
    message: str
    """Of the first one."""


class Measurement:
    """One series; requests that failed are counted, and in no distribution."""

    def __init__(self, goodput: Mapping[str, float] | None = None) -> None:
        """`goodput` are the most seconds that a good request may take, by metric."""
        self.live = Live()
        self.timeline = Timeline()
        self.strain = Strain()
        self.duration = 0.0
        self.running = self.most_running = 0
        self.completed = self.failed = self.aborted = self.good = 0
        self.connections = 0
        self.input_tokens = self.output_tokens = self.chunks = self.together = 0
        self.counted = 0
        """Completed requests whose server told of their usage."""
        self.problems: dict[str, Problem] = {}
        self.hopeless = ""
        """Why all further requests would fail, if they would."""
        self.samples = {name: Sample() for name in METRICS}
        self.request_itl = Sample()
        """The mean gap of each request: gaps of one stream depend on each other, requests hardly do."""
        self._goodput = dict(goodput or {})
        self._marked = (0, 0, 0)

    def began(self) -> None:
        """A request begins."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)

    def left(self) -> None:
        """A request was given up by this client, because the run was stopped."""
        self.running -= 1
        self.aborted += 1

    def ended(self, outcome: Outcome, waited: float | None) -> None:
        """A request ended; `waited` is how long it was due and had no place."""
        self.running -= 1
        if outcome.failure:
            self._failed(outcome)
            return
        self.completed += 1
        self.chunks += outcome.chunks
        self.together += outcome.together
        self._count_tokens(outcome)
        samples = self.samples
        samples["ttft"].add(outcome.ttft)
        samples["e2el"].add(outcome.e2el)
        samples["itl"].extend(outcome.gaps, outcome.together)
        if outcome.chunks > 1:
            self.request_itl.add(math.fsum(outcome.gaps) / (outcome.chunks - 1))
        tpot = outcome.tpot
        if tpot is not None:
            samples["tpot"].add(tpot)
            if tpot:
                samples["tps"].add(1 / tpot)
        if waited is not None:
            samples["client_queue_time"].add(waited)
        # As in vLLM: where there is no time per token, none was too long.
        took = {"ttft": outcome.ttft, "tpot": tpot or 0.0, "e2el": outcome.e2el}
        self.good += all(took[name] <= most for name, most in self._goodput.items())

    def _count_tokens(self, outcome: Outcome) -> None:
        self.input_tokens += outcome.input_tokens or 0
        if outcome.output_tokens is None:
            self.output_tokens += outcome.chunks
        else:
            self.counted += 1
            self.output_tokens += outcome.output_tokens

    def _failed(self, outcome: Outcome) -> None:
        self.failed += 1
        problem = self.problems.setdefault(outcome.failure, Problem(0, outcome.message))
        problem.count += 1
        if outcome.failure in _HOPELESS and not self.completed:
            self.hopeless = f"{outcome.failure}: {outcome.message}"

    def mark(self, seconds: float) -> None:
        """Put what happened since the last mark on the time line."""
        now = (self.live.chunks, self.completed, self.failed)
        chunks, completed, failed = (new - old for new, old in zip(now, self._marked, strict=True))
        self._marked = now
        self.timeline.add(Point(seconds, chunks, completed, failed, float(self.running)))
