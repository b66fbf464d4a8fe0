"""Names that are claimed for a while, in this process."""

from __future__ import annotations

from collections import OrderedDict

# A claim that runs out is removed by later ones: each looks at this many of the oldest, so none pays for all.
_SWEPT = 32


class Claims:
    """Each name's value and the time that it holds until. There are no timers: `now` says what has run out."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def claim(self, name: str, value: str, now: float, ttl: float) -> str:
        """Set `name` if it is free and return the value that holds."""
        self._sweep(now)
        held = self.holder(name, now)
        if held is not None:
            return held
        self._held[name] = (value, now + ttl)
        return value

    def holder(self, name: str, now: float) -> str | None:
        """The value that holds `name`, unless its time is over."""
        held = self._held.get(name)
        return held[0] if held is not None and held[1] > now else None

    def extend(self, name: str, value: str, now: float, ttl: float) -> None:
        """Keep a claim for `ttl` seconds from now; one that has run out stays free."""
        if self.holder(name, now) == value:
            self._held[name] = (value, now + ttl)

    def release(self, name: str, value: str) -> None:
        """Free a claim if it is this value's."""
        held = self._held.get(name)
        if held is not None and held[0] == value:
            del self._held[name]

    def clear(self) -> None:
        """Free all of them."""
        self._held.clear()

    def _sweep(self, now: float) -> None:
        """Look at the oldest claims in turn: what ran out goes, the first that still holds goes to the back."""
        for _ in range(min(_SWEPT, len(self._held))):
            name, (_, until) = next(iter(self._held.items()))
            if until > now:
                self._held.move_to_end(name)
                return
            del self._held[name]
