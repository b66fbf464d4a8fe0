"""Every form in which a stream can be read, and what of its bytes a reader counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.raw import Frame, events


def lines(body: bytes) -> list[bytes]:
    """The complete lines of NDJSON; an empty one is a heartbeat."""
    return [line for line in body.split(b"\n")[:-1] if line]


def _frames(body: bytes) -> list[Frame]:
    """The complete frames of SSE; one without an id is a ping, Anthropic's heartbeat."""
    return [event for event in events(body) if event.id]


def _data(body: bytes) -> list[bytes]:
    return [frame.data for frame in _frames(body)]


def _told(pieces: Sequence[bytes]) -> bytes:
    return "".join(map(json.loads, pieces)).encode()


@dataclass(frozen=True)
class Form:
    """A format in one of its bodies."""

    format: str
    accept: str
    units: Callable[[bytes], Any]
    """What a reader has received of a body: the frames, the lines, or the bytes of the text; `skip` counts them."""

    @property
    def query(self) -> str:
        """The format, as the query says it."""
        return f"format={self.format}"

    @property
    def name(self) -> str:
        """For the test's report."""
        return f"{self.format} {self.accept.rpartition('/')[2]}"

    def cuts(self, units: Sequence[Any]) -> list[int]:
        """Where a reader of these units can be cut: after each; JSON does not cut a character."""
        if isinstance(units, bytes) and self.accept != "text/plain":
            return [cut for cut in range(len(units) + 1) if units[cut : cut + 1] < b"\x80" or units[cut] >= 0xC0]
        return list(range(len(units) + 1))

    def ids(self, body: bytes) -> list[tuple[int, str]]:
        """Of an SSE body: how many units were received with each id, and the id."""
        found = _frames(body)
        counts = range(1, len(found) + 1)
        if self.format == "text":
            counts = [len(_told([frame.data for frame in found[:count]])) for count in counts]
        return [(count, frame.id) for count, frame in zip(counts, found, strict=True)]


SHAPES = ("native", "openai.chat", "openai.responses", "anthropic.messages")
FORMS = (
    *(Form(shape, "text/event-stream", _data) for shape in SHAPES),
    *(Form(shape, "application/x-ndjson", lines) for shape in SHAPES),
    Form("text", "text/event-stream", lambda body: _told(_data(body))),
    Form("text", "application/x-ndjson", lambda body: _told(lines(body))),
    Form("text", "text/plain", lambda body: body),
)
