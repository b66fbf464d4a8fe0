"""When a process that has died is started again, and when that has become pointless. Pure: times are passed in."""

from __future__ import annotations

from typing import Final

QUICK_S: Final = 10.0
"""A process that dies younger than this has died of its start, or of what it always meets."""
MOST: Final = 5
"""Quick deaths in a row that are one too many."""
FIRST_DELAY_S: Final = 0.1
_GROWTH: Final = 3
"""0.1, 0.3, 0.9 and 2.7 s: what has to go away by itself has four seconds."""


class Restarts:
    """The deaths of one process."""

    def __init__(self) -> None:
        self._quick = 0

    def died(self, lived: float) -> float | None:
        """Seconds until it is to be started again after it `lived` so long; None when there is no more use in it."""
        self._quick = self._quick + 1 if lived < QUICK_S else 0
        if self._quick >= MOST:
            return None
        return FIRST_DELAY_S * _GROWTH ** max(0, self._quick - 1)
