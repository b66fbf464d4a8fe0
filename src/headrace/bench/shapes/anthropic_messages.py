"""Anthropic messages: typed events, then `message_stop`."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from headrace.bench.prompts import Prompt
from headrace.bench.shapes.base import NULL, Ask, Reading, Shape, reason
from headrace.codecs.sse import SSEEvent


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Delta | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: Raw = NULL


_decode = msgspec.json.Decoder(_Event).decode


class _MessagesReading(Reading):
    def _has_content(self, event: SSEEvent) -> bool:
        read = _decode(event.data)
        match read.type:
            case "content_block_delta":
                delta = read.delta
                return delta is not None and bool(delta.text or delta.thinking or delta.partial_json)
            case "message_start":
                self._count(read.message and read.message.usage)
            case "message_delta":
                self._count(read.usage)
            case "message_stop":
                self.ended = True
            case "error":
                self._fail(reason(event.data if read.error == NULL else bytes(read.error)))
            case _:
                pass  # ping, the start and the end of a block, and what comes to be
        return False

    def _count(self, usage: _Usage | None) -> None:
        """The counts so far; each event tells only of what changed."""
        if usage is not None:
            if usage.input_tokens is not None:
                self.input_tokens = usage.input_tokens
            if usage.output_tokens is not None:
                self.output_tokens = usage.output_tokens


class AnthropicMessages(Shape):
    """`POST /v1/messages`."""

    name = "anthropic.messages"
    endpoint = "/v1/messages"
    vendor = "anthropic"
    needs_output_len = True

    def headers(self, api_key: str) -> dict[str, str]:
        """The key has a header of its own."""
        version = {"anthropic-version": "2023-06-01"}
        return {**version, "x-api-key": api_key} if api_key else version

    def body(self, prompt: Prompt, ask: Ask) -> bytes:
        """The system's messages have a field of their own."""
        system = [message for message in prompt.messages if message.get("role") in ("system", "developer")]
        return ask.body(
            {
                "model": ask.model,
                "system": Prompt(system).text or None,
                "messages": [message for message in prompt.messages if message not in system],
                "stream": True,
                "max_tokens": ask.limit(prompt),
            }
        )

    def start(self) -> Reading:
        """The reading of a new stream."""
        return _MessagesReading()
