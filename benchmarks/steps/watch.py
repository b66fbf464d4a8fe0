"""How long an event loop is held, and by what."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

BEAT_S: Final = 0.001
"""A timer of the loop this often, whose lateness is the step: also the resolution, since libuv counts milliseconds."""
_LATE_S: Final = 0.002
"""A beat that is later than this gets its stack looked at; a shorter step is not kept."""
_MOST: Final = 100_000
_DEPTH: Final = 3


class Step(msgspec.Struct, frozen=True):
    """The loop was held for `wall` seconds, in which its thread had the processor for `cpu`."""

    wall: float
    cpu: float
    ran: tuple[str, ...]
    """What was seen to run, innermost first."""


class Watch:
    """Belongs to the thread that starts it. A second thread looks at the stack when a beat is late.

    That thread needs the interpreter's lock, so of one long call of C it sees the place that the call returns to.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = threading.get_ident()
        self._last = self._last_cpu = 0.0
        self._seen: list[str] = []
        self._collecting = 0.0

    def start(self) -> None:
        """Beat until the process ends."""
        self._loop = asyncio.get_running_loop()
        self._last, self._last_cpu = time.perf_counter(), time.thread_time()
        gc.callbacks.append(self._collected)
        threading.Thread(target=self._look, daemon=True).start()
        self._beat()

    def taken(self) -> list[Step]:
        """The steps since the last call, without the one that asks."""
        steps, self.steps = self.steps, []
        return steps

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        held = now - self._last - BEAT_S
        if held > _LATE_S and len(self.steps) < _MOST:
            self.steps.append(Step(held, cpu - self._last_cpu, tuple(dict.fromkeys(self._seen))))
        self._seen = []
        self._last, self._last_cpu = now, cpu
        assert self._loop is not None
        self._loop.call_later(BEAT_S, self._beat)

    def _look(self) -> None:
        while True:
            time.sleep(BEAT_S)
            if time.perf_counter() - self._last > _LATE_S + BEAT_S:
                self._seen.append(_place(sys._current_frames().get(self._watched)))

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
        elif now - self._collecting > BEAT_S:
            took = 1000 * (now - self._collecting)
            self._seen.append(f"garbage collector, generation {info['generation']}: {took:.0f} ms")


def _place(frame: FrameType | None) -> str:
    """The innermost functions, ours first of all: a library's frame says little alone."""
    names: list[str] = []
    while frame is not None and len(names) < _DEPTH:
        path = Path(frame.f_code.co_filename)
        if "headrace" in path.parts:
            names.append(f"{path.parent.name}/{path.stem}.{frame.f_code.co_name}:{frame.f_lineno}")
        elif not names:
            names.append(f"{path.parent.name}/{path.stem}.{frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(names)
