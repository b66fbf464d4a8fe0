"""What happened and what was wrong, counted."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

KEPT: Final = 20
_EXCERPT: Final = 300


class Violation(msgspec.Struct, frozen=True):
    """One promise that did not hold."""

    what: str
    seed: int
    stream: int
    """The stream's number, which the seed makes the same stream again from; -1 for the whole run."""
    stream_id: str
    view: str
    plan: str
    detail: str

    def __str__(self) -> str:
        """Several lines."""
        where = f"stream {self.stream} of seed {self.seed}, id {self.stream_id or 'unknown'}, {self.view or 'no view'}"
        return f"{self.what}: {where}\n    {self.detail}\n    {self.plan}"


class Ledger:
    """Counts of one run; the first violations are kept whole."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.started = 0
        self.checked = 0
        self.running = 0
        self.readers_now = 0
        self.lag_s = 0.0
        """The longest time for which the readers' own process did nothing."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.states: Counter[str] = Counter()
        self.faults: dict[str, Counter[str]] = {}
        """By the fault's name: ends by state."""
        self.readers: dict[str, Counter[str]] = {}
        """By the reader's kind: what became of it, its resumes, cuts and stalls."""
        self.endings: Counter[str] = Counter()
        self.shapes: Counter[str] = Counter()
        self.expired = 0
        """Streams whose retention was over before everything was looked at: the machine was too slow."""
        self.cut_off: set[str] = set()
        """Streams one of whose readers was cut off by the server; its log must name them too."""
        self.violations: list[Violation] = []
        self.kinds: Counter[str] = Counter()

    @property
    def violated(self) -> int:
        """How many violations there were."""
        return self.kinds.total()

    def ended(self, fault: str, state: str, code: str) -> None:
        """A stream has come to its end."""
        self.states[state] += 1
        self.outcomes[state, code] += 1
        self.faults.setdefault(fault, Counter())[state] += 1

    def reader(self, kind: str, **counts: int) -> None:
        """Something happened to a reader."""
        self.readers.setdefault(kind, Counter()).update(counts)

    def violation(
        self, what: str, detail: str, *, stream: int = -1, stream_id: str = "", view: str = "", plan: Any = None
    ) -> None:
        """Something that must not happen."""
        self.kinds[what] += 1
        if len(self.violations) < KEPT:
            shown = "" if plan is None else str(plan)
            self.violations.append(Violation(what, self.seed, stream, stream_id, view, shown, detail))


def difference(got: bytes, wanted: bytes) -> str:
    """Where two texts part, and how they go on there."""
    at = next((place for place, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), None)
    if at is None:
        at = min(len(got), len(wanted))
    return (
        f"at byte {at} of {len(got)} received and {len(wanted)} wanted: "
        f"{got[at : at + _EXCERPT]!r} instead of {wanted[at : at + _EXCERPT]!r}"
    )
