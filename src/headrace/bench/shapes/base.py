"""What the load tester needs to know about an API shape, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from headrace.bench.prompts import Prompt
from headrace.codecs.sse import SSEEvent

NULL: Final = msgspec.Raw(b"null")
"""What a field of any kind is when it is not there."""


class Ask(msgspec.Struct, frozen=True):
    """What all requests of a series have in common."""

    model: str
    output_len: int | None = 128
    """The most tokens of an answer; None leaves it to the server."""
    temperature: float | None = None
    ignore_eos: bool = False
    extra: Mapping[str, Any] = {}
    """Further fields of the body. They beat the shape's own, and null takes a field away."""

    def limit(self, prompt: Prompt) -> int | None:
        """The most tokens of this answer."""
        return self.output_len if prompt.output_len is None else prompt.output_len

    def body(self, fields: Mapping[str, Any]) -> bytes:
        """The shape's fields with what was asked for besides, without those that are None."""
        merged = {**fields, "temperature": self.temperature, **self.extra}
        if self.ignore_eos:
            merged["ignore_eos"] = True  # of vLLM and SGLang
        return msgspec.json.encode({name: value for name, value in merged.items() if value is not None})


class Reading(ABC):
    """What the events of one stream have said so far."""

    needs_end = True
    """Whether a body that just ends, without the terminal event, is incomplete."""

    def __init__(self) -> None:
        self.ended = False
        """Whether the terminal event was there. What comes after it is not read."""
        self.error = ""
        """The error that the stream itself told of; it ends the stream too."""
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None

    def take(self, events: Sequence[SSEEvent]) -> int:
        """Read the events of one read; return how many have content: text, reasoning or a tool's arguments.

        Raises:
            msgspec.DecodeError: one of them is not of this shape.
            UnicodeDecodeError: likewise.
        """
        count = 0
        for event in events:
            if self._has_content(event):
                count += 1
            if self.ended:
                break
        return count

    @abstractmethod
    def _has_content(self, event: SSEEvent) -> bool:
        """Read one event."""

    def _fail(self, message: str) -> None:
        self.ended = True
        self.error = message or "the server gave no reason"


class Shape(ABC):
    """One API shape. It knows no connection: it makes bodies, and gives out readings."""

    name: ClassVar[str]
    endpoint: ClassVar[str]
    """The path on a server's own address."""
    vendor: ClassVar[str] = "openai"
    """Whose key is shown when none was said; empty: nobody's."""
    takes_ignore_eos: ClassVar[bool] = True
    takes_fields: ClassVar[bool] = True
    """Whether the body is made of fields, so that others can be added."""
    needs_output_len: ClassVar[bool] = False
    names_models: ClassVar[bool] = True
    """Whether a request names a model, and `GET /v1/models` lists them."""
    method: str = "POST"

    @abstractmethod
    def body(self, prompt: Prompt, ask: Ask) -> bytes:
        """The body of one request."""

    @abstractmethod
    def start(self) -> Reading:
        """The reading of a new stream."""

    def path(self, path: str, prompt: Prompt) -> str:
        """The path of one request; nearly always the same for all."""
        return path

    def headers(self, api_key: str) -> dict[str, str]:
        """How a key is shown, and what else the shape wants."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def reason(error: bytes) -> str:
    """What an error object of any vendor says for people: its code and its message, else its own text."""
    try:
        read = msgspec.json.decode(error, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return error.decode("utf-8", "replace").strip('"')
    label = read.code if isinstance(read.code, str) else read.type
    return ": ".join(part for part in (label, read.message) if part) or error.decode("utf-8", "replace")


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
