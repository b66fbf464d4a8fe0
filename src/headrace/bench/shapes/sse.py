"""Any endpoint that answers with server-sent events, by what its user says about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec

from headrace.bench.prompts import Prompt
from headrace.bench.shapes.base import Ask, Reading, Shape
from headrace.codecs.sse import SSEEvent

PROMPT: Final = "{{prompt}}"
"""Stands for the prompt in a body or an address."""
MODEL: Final = "{{model}}"
MAX_TOKENS: Final = "{{max_tokens}}"

Step = str | int


class Description(msgspec.Struct, frozen=True):
    """What is known about the endpoint."""

    text_path: Sequence[Step] = ()
    """Where the text is in an event's JSON; empty: the data itself is the text."""
    end: bytes = b""
    """The data, or the name, of the terminal event; empty: there is none, and a clean end of the body is enough."""
    method: str = ""
    """Empty: POST with a body, else GET."""
    body: str = ""
    """With `{{prompt}}`, `{{model}}` and `{{max_tokens}}` where they belong."""


def parse_path(text: str) -> tuple[Step, ...]:
    """Read `choices.0.delta.content`: names and indexes."""
    steps = text.split(".") if text else ()
    return tuple(int(step) if step.isascii() and step.isdigit() else step for step in steps)


class _SSEReading(Reading):
    def __init__(self, description: Description) -> None:
        super().__init__()
        self._path = description.text_path
        self._end = description.end
        self._end_name = description.end.decode("utf-8", "replace")
        self.needs_end = bool(self._end)

    def _has_content(self, event: SSEEvent) -> bool:
        if self._end and (event.data == self._end or event.event == self._end_name):
            self.ended = True
            return False
        if event.event == "error":
            self._fail(event.data.decode("utf-8", "replace"))
            return False
        return bool(_at(msgspec.json.decode(event.data), self._path) if self._path else event.data)


def _at(value: Any, path: Sequence[Step]) -> Any:
    """What is at this place; None when there is no such place."""
    for step in path:
        if isinstance(step, int) and isinstance(value, list):
            items = cast("list[Any]", value)
            value = items[step] if step < len(items) else None
        elif isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(str(step))
        else:
            return None
    return value


class AnySSE(Shape):
    """The endpoint that was described."""

    name = "sse"
    endpoint = "/"
    vendor = ""
    takes_ignore_eos = False
    takes_fields = False
    names_models = False

    def __init__(self, description: Description) -> None:
        self._description = description
        self.method = description.method or ("POST" if description.body else "GET")

    def start(self) -> Reading:
        """The reading of a new stream."""
        return _SSEReading(self._description)

    def path(self, path: str, prompt: Prompt) -> str:
        """The path with the prompt in it, if it has a place for it."""
        return path.replace(PROMPT, quote(prompt.text, safe="")) if PROMPT in path else path

    def body(self, prompt: Prompt, ask: Ask) -> bytes:
        """The body with everything in its place, as it stands in a JSON string."""
        body = self._description.body
        for place, value in ((MODEL, ask.model), (MAX_TOKENS, str(ask.limit(prompt) or "")), (PROMPT, prompt.text)):
            if place in body:
                body = body.replace(place, msgspec.json.encode(value).decode()[1:-1])
        return body.encode()
