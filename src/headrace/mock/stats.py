"""What happened, as `GET /stats` tells it."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

_KEPT: Final = 1000


class Stats:
    """Counts since the start or the last reset; tokens count when they are handed to the socket."""

    def __init__(self) -> None:
        self.connections = 0
        self.connections_now = 0
        self.streams_now = 0
        self.reset()

    def reset(self) -> None:
        """Begin anew; what is open stays counted in the two `now`."""
        self.requests = 0
        self.streams_max = self.streams_now
        self.tokens = 0
        self.completed = 0
        self.by_fault: Counter[str] = Counter()
        self.client_closed = 0
        self.client_closed_after: deque[int] = deque(maxlen=_KEPT)
        self.faults: Counter[str] = Counter()

    def began(self) -> None:
        """An answer begins."""
        self.streams_now += 1
        self.streams_max = max(self.streams_max, self.streams_now)

    def ended(self, tokens: int, *, fault: str = "", client: bool = False) -> None:
        """An answer ended: completed, by a fault, or because the client closed the connection."""
        self.streams_now -= 1
        self.tokens += tokens
        if client:
            self.client_closed += 1
            self.client_closed_after.append(tokens)
        elif fault:
            self.by_fault[fault] += 1
        else:
            self.completed += 1

    def as_json(self) -> dict[str, Any]:
        """The value of `GET /stats`."""
        return {
            "requests": self.requests,
            "streams": {"now": self.streams_now, "max": self.streams_max},
            "connections": {"now": self.connections_now, "total": self.connections},
            "tokens_sent": self.tokens,
            "ended": {
                "completed": self.completed,
                "client_closed": self.client_closed,
                "by_fault": dict(self.by_fault),
            },
            "client_closed_after_tokens": list(self.client_closed_after),
            "faults": dict(self.faults),
        }
