"""What an API shape has to say: how it is asked, how it answers, and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, cast

import msgspec

from headrace.mock.answer import Answer, Call
from headrace.mock.question import Question
from headrace.mock.steps import Frame, Part

Piece = tuple[bytes, int]
"""A part of a text as a JSON string with its quotes, and how many tokens it is."""


class Glance(msgspec.Struct, frozen=True):
    """What one recorded frame says."""

    part: Part = "structure"
    text: str = ""
    finish: str = ""
    """In OpenAI's chat words; empty when the frame says nothing about it."""


class Writer(ABC):
    """Writes one answer, in this order: begin, reasoning, text, calls, end."""

    @abstractmethod
    def begin(self) -> Iterator[Frame]:
        """What comes before the first part of the answer."""

    @abstractmethod
    def reasoning(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """One block of reasoning."""

    @abstractmethod
    def text(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """One block of text; a piece is asked for when its frame is."""

    @abstractmethod
    def call(self, call: Call) -> Iterator[Frame]:
        """One tool call."""

    @abstractmethod
    def end(self) -> Iterator[Frame]:
        """The finish, usage, and the shape's terminal marker."""

    @abstractmethod
    def body(self) -> bytes:
        """The answer as one JSON value, for a request that is not streamed."""


class Shape(ABC):
    """One API shape; it knows no connection and keeps no state."""

    name: ClassVar[str]
    path: ClassVar[str]
    garbage: ClassVar[bytes]
    """A frame that a client of this shape reads and that is not JSON."""
    padding: ClassVar[tuple[bytes, bytes]]
    """A frame that says nothing, but for the text in its middle and the line feeds at its end."""

    @abstractmethod
    def read(self, body: bytes) -> Question:
        """Read a request.

        Raises:
            BadRequest: it is none.
        """

    @abstractmethod
    def writer(self, answer: Answer) -> Writer:
        """What writes this answer."""

    @abstractmethod
    def problem(self, status: int, message: str, code: str) -> bytes:
        """The body of an HTTP error."""

    @abstractmethod
    def failure(self, first: bytes, instead: bytes, form: str) -> bytes:
        """The error inside a stream, given its first frame and the frame in whose place it comes.

        `form` is the type of the event, `failed` or `error`, where a shape has both.
        """

    @abstractmethod
    def began(self, payload: bytes) -> bool:
        """Whether a recorded stream whose first data is this is of this shape."""

    @abstractmethod
    def glance(self, payload: bytes) -> Glance:
        """What a recorded frame with this data is."""


def frame(payload: bytes, event: str = "", *, part: Part = "structure", tokens: int = 0) -> Frame:
    """A server-sent event; with its name, where the shape has names."""
    head = b"event: %b\ndata: " % event.encode() if event else b"data: "
    return Frame(b"%b%b\n\n" % (head, payload), tokens, part)


def openai_problem(status: int, message: str, code: str) -> bytes:
    """The body of an HTTP error, as both of OpenAI's shapes have it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def text_of(content: Any) -> str:
    """The text of a message, which is a string or a list of parts; of anything else there is none."""
    if isinstance(content, str):
        return content
    parts = cast("list[Any]", content) if isinstance(content, list) else []
    texts = [cast("dict[str, Any]", part).get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))
