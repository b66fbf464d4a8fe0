"""OpenAI chat completions: chunks, then `[DONE]`."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from headrace.bench.prompts import Prompt
from headrace.bench.shapes.base import NULL, Ask, Reading, Shape, reason
from headrace.codecs.sse import SSEEvent


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    """`reasoning_content` and `reasoning` are vendors' two names for one thing; Mistral's content may be a list."""

    content: str | list[Raw] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None

    @property
    def has_content(self) -> bool:
        if self.content or self.reasoning_content or self.reasoning or self.refusal:
            return True
        return any(call.function is not None and call.function.arguments for call in self.tool_calls or ())


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Raw = NULL


_decode = msgspec.json.Decoder(_Chunk).decode


class _ChatReading(Reading):
    def _has_content(self, event: SSEEvent) -> bool:
        if event.data == b"[DONE]":
            self.ended = True
            return False
        chunk = _decode(event.data)
        if chunk.error is not NULL and chunk.error != NULL:
            self._fail(reason(bytes(chunk.error)))
        usage = chunk.usage
        if usage is not None:
            self.input_tokens, self.output_tokens = usage.prompt_tokens, usage.completion_tokens
        for choice in chunk.choices or ():  # noqa: SIM110 - any() costs a third of the whole reading
            if choice.delta is not None and choice.delta.has_content:
                return True
        return False


class OpenAIChat(Shape):
    """`POST /v1/chat/completions`."""

    name = "openai.chat"
    endpoint = "/v1/chat/completions"

    def body(self, prompt: Prompt, ask: Ask) -> bytes:
        """With usage asked for, and `max_tokens`, which more servers know than `max_completion_tokens`."""
        return ask.body(
            {
                "model": ask.model,
                "messages": prompt.messages,
                "stream": True,
                "stream_options": {"include_usage": True},
                "max_tokens": ask.limit(prompt),
            }
        )

    def start(self) -> Reading:
        """The reading of a new stream."""
        return _ChatReading()
