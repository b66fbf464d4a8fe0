"""The answer's text and nothing else: for `curl -N`, shell pipes and speech.

Its unit is the UTF-8 byte, so a reader without ids resumes by the size of what it has. It has no frame for a failure:
only the abort of the body says so, and a later read at the end of a failed stream is the error itself. Lost: everything
but the text of the first choice.
"""

from __future__ import annotations

from headrace.bodies import LongBody
from headrace.codecs.sse import HEARTBEAT
from headrace.dialects.base import Place
from headrace.dialects.long import Steps
from headrace.errors import BadRequest, HeadraceError
from headrace.events import Answer, Finished, ItemStart, Record, Terminal, TextDelta
from headrace.messages import Request


class TextView:
    """A fold that keeps the text items of choice 0; frames are UTF-8 bytes."""

    plain = False

    def __init__(self) -> None:
        self._items: set[int] = set()

    def fold(self, record: Record) -> list[bytes]:
        """At most one frame a record: see `View.fold`."""
        pieces: list[str] = []
        for event in record.events:
            if isinstance(event, TextDelta):
                if event.item in self._items:
                    pieces.append(event.text)
            elif isinstance(event, ItemStart) and event.kind == "text" and event.choice == 0:
                self._items.add(event.item)
        text = "".join(pieces)
        return [text.encode("utf-8", "replace")] if text else []

    def encode(self, frame: bytes) -> bytes:
        """The bytes themselves."""
        return frame

    def size(self, frame: bytes) -> int:
        """Bytes."""
        return len(frame)

    def event(self, frame: bytes) -> str | None:
        """This shape has no event names."""
        return None


class Text:
    """The `Dialect` of `text/plain`; it is read, never posted."""

    name = "text"
    code = "t"
    prefix = ""
    params = ""
    heartbeat = HEARTBEAT
    place = Place()

    def parse(self, body: bytes) -> Request:
        """Refuse: no request has this shape."""
        raise BadRequest("Requests cannot be posted as plain text.")

    def parse_long(self, body: LongBody) -> Steps[Request]:
        """Refuse likewise."""
        raise BadRequest("Requests cannot be posted as plain text.")

    def unsaid(self, request: Request) -> tuple[str, ...]:
        """Nothing: no request has this shape."""
        return ()

    def view(self, params: str) -> TextView:
        """A new fold; there are no parameters."""
        return TextView()

    def clean_end(self, terminal: Terminal) -> bool:
        """Nothing but the end of the body can say that the text is whole."""
        return isinstance(terminal, Finished)

    def answer(self, answer: Answer) -> bytes:
        """The text."""
        return answer.text.encode("utf-8", "replace")

    def error(self, error: HeadraceError, partial: str | None = None) -> bytes:
        """One line of text; callers that want fields ask for JSON."""
        return f"{error.error_code}: {error.message}\n".encode()
