"""What changed between two documents, beyond what chance does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from headrace.bench.bootstrap import differences, mean, quantile, share_difference
from headrace.bench.measurement import METRICS
from headrace.bench.result import FORMAT, Document
from headrace.errors import ConfigError

Verdict = Literal["better", "worse", "same", "unknown"]

THRESHOLD: Final = 0.05
"""Two runs of one server differ by a few percent for reasons that no sample of one run can show."""

# Fewer values say nothing about a quantile.
_FEWEST: Final = {50.0: 20, 99.0: 100}
_FEWEST_POINTS: Final = 20
_SAMPLED: Final = ("ttft", "tpot", "itl", "e2el")
_RATES: Final = {"completed": ("Requests", "req/s"), "chunks": ("Chunks", "chunks/s")}


class Finding(msgspec.Struct, frozen=True):
    """One figure, before and after."""

    label: str
    """The series."""
    what: str
    unit: str
    old: float
    new: float
    low: float | None = None
    """The confidence interval of new less old; None when there are too few values for one."""
    high: float | None = None
    verdict: Verdict = "unknown"

    @property
    def change(self) -> float | None:
        """Relative to the old one."""
        return (self.new - self.old) / self.old if self.old else None


class Comparison(msgspec.Struct, frozen=True):
    """All findings, and what stands in the way of comparing."""

    findings: list[Finding]
    notes: list[str]

    @property
    def regressed(self) -> bool:
        """Whether anything is worse."""
        return any(finding.verdict == "worse" for finding in self.findings)


class _Result(msgspec.Struct):
    """What a comparison needs of a result."""

    label: str
    target: str
    model_id: str
    max_concurrency: int | None
    completed: int
    failed: int
    samples: dict[str, list[float]]
    timeline: dict[str, list[float]]

    @property
    def key(self) -> tuple[str, str, int | None]:
        return self.target, self.model_id, self.max_concurrency


class _Document(msgspec.Struct):
    tool: Literal["headrace bench"]
    format: int
    backend: str
    load: dict[str, Any]
    results: list[_Result]


def read_document(path: Path) -> Document:
    """Read a document that was saved.

    Raises:
        ConfigError: it is none, or of another version of the format.
    """
    try:
        data = path.read_bytes()
        if msgspec.json.decode(data, type=_Document).format != FORMAT:
            raise ConfigError(f"--compare: {path} was written by another version of headrace bench")
        return msgspec.json.decode(data, type=dict[str, Any])
    except OSError as error:
        raise ConfigError(f"--compare: {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--compare: {path} is no result of headrace bench --json: {error}") from None


def compare(old: Document, new: Document, threshold: float = THRESHOLD) -> Comparison:
    """Hold two documents against each other, series by series.

    A figure is worse, or better, when the confidence interval of its difference does not hold zero and it has changed
    by the threshold at least.
    """
    before, after = msgspec.convert(old, _Document), msgspec.convert(new, _Document)
    pairs, notes = _pairs(before.results, after.results)
    notes += _other_settings(before, after)
    judge = _Judge(threshold)
    findings = [finding for pair in pairs for finding in judge.findings(*pair)]
    return Comparison(findings, notes)


def _pairs(old: Sequence[_Result], new: Sequence[_Result]) -> tuple[list[tuple[_Result, _Result]], list[str]]:
    """The series that are in both, by target, model and concurrency; a single one in each is the same."""
    if len(old) == len(new) == 1:
        return [(old[0], new[0])], []
    known = {result.key: result for result in old}
    missing = [result.label for result in new if result.key not in known]
    pairs = [(known[result.key], result) for result in new if result.key in known]
    return pairs, [f"{label}: there is no such series in the old document" for label in missing]


def _other_settings(old: _Document, new: _Document) -> list[str]:
    before, after = old.load | {"backend": old.backend}, new.load | {"backend": new.backend}
    changed = [name for name in after if name in before and before[name] != after[name] and name != "seed"]
    return [f"{name} was {before[name]} and is {after[name]}" for name in changed]


class _Judge:
    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def findings(self, old: _Result, new: _Result) -> list[Finding]:
        """Everything that can be said about one series."""
        found = [finding for name in _SAMPLED for finding in self._quantiles(name, old, new)]
        found += [self._rate(column, old, new) for column in _RATES if old.timeline and new.timeline]
        if old.completed + old.failed and new.completed + new.failed:
            found.append(self._failures(old, new))
        return found

    def _quantiles(self, name: str, old: _Result, new: _Result) -> list[Finding]:
        metric = METRICS[name]
        before, after = old.samples.get(metric.key, []), new.samples.get(metric.key, [])
        fewest = min(len(before), len(after))
        if not fewest:
            return []
        known = [percent for percent, needed in _FEWEST.items() if fewest >= needed]
        intervals = dict(zip(known, differences(before, after, [quantile(each) for each in known]), strict=True))
        ordered = sorted(before), sorted(after)
        found: list[Finding] = []
        for percent in _FEWEST:
            values = [quantile(percent)(each) for each in ordered]
            per_request = " per request" if name == "itl" else ""
            what = f"{name.upper()}{per_request} p{percent:g}"
            finding = Finding(new.label, what, metric.unit, values[0], values[1])
            found.append(self._judged(finding, intervals.get(percent), more_is_better=False))
        return found

    def _rate(self, column: str, old: _Result, new: _Result) -> Finding:
        what, unit = _RATES[column]
        before, after = _per_second(old, column), _per_second(new, column)
        interval = None
        if min(len(before), len(after)) >= _FEWEST_POINTS:
            interval = differences(before, after, [mean])[0]
        finding = Finding(new.label, what, unit, mean(before), mean(after))
        return self._judged(finding, interval, more_is_better=True)

    def _failures(self, old: _Result, new: _Result) -> Finding:
        before, after = (old.failed, old.completed + old.failed), (new.failed, new.completed + new.failed)
        low, high = share_difference(before, after)
        shares = [100 * count / of for count, of in (before, after)]
        finding = Finding(new.label, "Failed requests", "%", shares[0], shares[1])
        # Every failure counts: there is no threshold.
        return _decided(finding, (100 * low, 100 * high), more_is_better=False)

    def _judged(self, finding: Finding, interval: tuple[float, float] | None, *, more_is_better: bool) -> Finding:
        if interval is None:
            return finding
        decided = _decided(finding, interval, more_is_better=more_is_better)
        small = finding.change is not None and abs(finding.change) < self._threshold
        return msgspec.structs.replace(decided, verdict="same") if small else decided


def _decided(finding: Finding, interval: tuple[float, float], *, more_is_better: bool) -> Finding:
    low, high = interval
    verdict: Verdict = "same"
    if low > 0 or high < 0:
        verdict = "better" if (low > 0) == more_is_better else "worse"
    return msgspec.structs.replace(finding, low=low, high=high, verdict=verdict)


def _per_second(result: _Result, column: str) -> list[float]:
    points = zip(result.timeline[column], result.timeline["seconds"], strict=True)
    return [count / seconds for count, seconds in points if seconds > 0]
