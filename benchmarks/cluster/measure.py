"""What a window of time took: of each process its CPU, of Valkey its commands and bytes, of each token its way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.cluster.programs import Valkey
from benchmarks.gateways.figures import quantiles
from benchmarks.gateways.meters import cpu_ns, tree
from benchmarks.gateways.transcript import Transcript

# What nodes send; whatever else is counted is what scripts call, or this benchmark's own INFO.
_COMMANDS: Final = ("evalsha", "eval", "xrange", "exists", "ssubscribe", "sunsubscribe", "zadd", "zrem")
_COUNTERS: Final = ("total_net_input_bytes", "total_net_output_bytes")


@dataclass(frozen=True)
class Reading:
    """One look at everything."""

    at_ns: int
    cpu_ns: dict[str, int]
    valkey: dict[str, float]


class Meters:
    """Reads the same processes again and again."""

    def __init__(self, processes: dict[str, int], valkey: Valkey | None) -> None:
        """Process ids by the names that the figures have."""
        self._processes = processes
        self._valkey = valkey

    def read(self) -> Reading:
        """Look now."""
        counters = counted(self._valkey.info()) if self._valkey is not None else {}
        used = {name: cpu_ns(tree(pid)) for name, pid in self._processes.items()}
        return Reading(time.monotonic_ns(), used, counters)


def counted(info: dict[str, str]) -> dict[str, float]:
    """Commands that clients have sent so far, and the bytes of both directions."""
    return {
        "commands": sum(_calls(info, name) for name in _COMMANDS),
        **{name: float(info[name]) for name in _COUNTERS},
    }


def _calls(info: dict[str, str], name: str) -> int:
    text = info.get(f"cmdstat_{name}", "calls=0,")
    return int(text.split("calls=")[1].split(",")[0])


@dataclass
class Figures:
    """Of one window."""

    events: int
    """Tokens that arrived in it."""
    seconds: float
    cpu: dict[str, float]
    """Microseconds of each process for each event."""
    share: dict[str, float]
    """Of a core, of each process."""
    valkey: dict[str, float]
    """Counters per second."""
    latency: dict[str, float] = field(default_factory=dict[str, float])
    """From the mock's stamp to the reader, in milliseconds."""
    wire: float = 0.0
    """Bytes that a reader got for each token, in all."""


def figures(begin: Reading, end: Reading, transcripts: Sequence[Transcript], received: int) -> Figures:
    """Judge the answers, and count what came between two looks; `received` bytes are all that readers got.

    Raises:
        ValueError: an answer is not what the mock has said.
    """
    wrong = [each.problem for each in transcripts if each.problem]
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(transcripts)} answers are wrong: {wrong[0]}")
    late = [
        (arrival - stamp) / 1e6
        for each in transcripts
        for arrival, stamp in zip(each.arrivals, each.stamps, strict=True)
        if begin.at_ns <= arrival < end.at_ns
    ]
    if not late:
        raise ValueError("the streams had ended before the window: this machine is too busy")
    seconds = (end.at_ns - begin.at_ns) / 1e9
    used = {name: end.cpu_ns[name] - begin.cpu_ns[name] for name in end.cpu_ns}
    return Figures(
        events=len(late),
        seconds=seconds,
        cpu={name: each / 1e3 / len(late) for name, each in used.items()},
        share={name: each / 1e9 / seconds for name, each in used.items()},
        valkey={name: (end.valkey[name] - begin.valkey[name]) / seconds for name in end.valkey},
        latency=quantiles("latency", late),
        wire=received / sum(len(each.arrivals) for each in transcripts),
    )
