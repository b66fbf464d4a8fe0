"""OpenAI Responses: typed events, then `response.completed`, or `response.incomplete` when a limit was reached."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from headrace.bench.prompts import Prompt
from headrace.bench.shapes.base import NULL, Ask, Reading, Shape, reason
from headrace.codecs.sse import SSEEvent

# Text, reasoning, its summary, refusals and the arguments of all kinds of tools end so. Audio has another shape.
_DELTA: Final = ".delta"
_ENDS: Final = {"response.completed", "response.incomplete"}
_FAILURES: Final = {"response.failed", "response.cancelled", "error"}


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Response(msgspec.Struct, gc=False):
    usage: _Usage | None = None
    error: Raw = NULL


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    response: _Response | None = None
    error: Raw = NULL


_decode = msgspec.json.Decoder(_Event).decode


class _ResponsesReading(Reading):
    def _has_content(self, event: SSEEvent) -> bool:
        read = _decode(event.data)
        if read.type.endswith(_DELTA):
            return bool(read.delta)
        if read.type in _FAILURES:
            error = read.response.error if read.response else read.error
            self._fail(reason(event.data if error == NULL else bytes(error)))
        elif read.type in _ENDS:
            self.ended = True
            usage = read.response and read.response.usage
            if usage:
                self.input_tokens, self.output_tokens = usage.input_tokens, usage.output_tokens
        return False


class OpenAIResponses(Shape):
    """`POST /v1/responses`."""

    name = "openai.responses"
    endpoint = "/v1/responses"

    def body(self, prompt: Prompt, ask: Ask) -> bytes:
        """Messages are input items as they are."""
        return ask.body(
            {
                "model": ask.model,
                "input": prompt.messages,
                "stream": True,
                "max_output_tokens": ask.limit(prompt),
            }
        )

    def start(self) -> Reading:
        """The reading of a new stream."""
        return _ResponsesReading()
