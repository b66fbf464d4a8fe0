"""Headrace's own shape: every event is one record of the log, and the last one says how it ended."""

from __future__ import annotations

from typing import Final

import msgspec

from headrace.bench.prompts import Prompt
from headrace.bench.shapes.base import NULL, Ask, Reading, Shape
from headrace.codecs.sse import SSEEvent


class _Said(msgspec.Struct, gc=False):
    """The fields of all events in one, as far as they matter here."""

    type: str = ""
    text: str = ""
    json: str = ""
    input: int | None = None
    output: msgspec.Raw = NULL
    """A count in `usage`; anything in a tool's result."""
    code: str = ""
    message: str = ""
    by: str = ""


class _Record(msgspec.Struct, gc=False):
    events: list[_Said] = []


_decode = msgspec.json.Decoder(_Record).decode
_CONTENT: Final = {"text.delta", "args.delta"}


class _NativeReading(Reading):
    def _has_content(self, event: SSEEvent) -> bool:
        content = False
        for said in _decode(event.data).events:
            if said.type in _CONTENT:
                content = content or bool(said.text or said.json)
            else:
                self._read(said)
        return content

    def _read(self, said: _Said) -> None:
        match said.type:
            case "usage":
                self.input_tokens = said.input
                self.output_tokens = msgspec.json.decode(said.output, type=int | None)
            case "finished":
                self.ended = True
            case "failed":
                self._fail(f"{said.code}: {said.message}")
            case "cancelled":
                self._fail(f"cancelled by {said.by}")
            case _:
                pass


class Native(Shape):
    """`POST /v1/streams`."""

    name = "native"
    endpoint = "/v1/streams"
    vendor = "headrace"
    takes_ignore_eos = False

    def body(self, prompt: Prompt, ask: Ask) -> bytes:
        """Settings are apart; unknown fields would be refused."""
        settings = {"max_tokens": ask.limit(prompt), "temperature": ask.temperature}
        own = msgspec.structs.replace(ask, temperature=None)
        return own.body(
            {
                "model": ask.model,
                "messages": prompt.messages,
                "stream": True,
                "settings": {name: value for name, value in settings.items() if value is not None},
            }
        )

    def start(self) -> Reading:
        """The reading of a new stream."""
        return _NativeReading()
