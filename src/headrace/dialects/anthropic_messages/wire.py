"""The JSON of Anthropic's stream events, and the words that the two sides have for one thing.

The strict structs are the events that ours say in full: deltas and stops. All others keep their raw JSON; they are few.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.events import ItemKind, Usage

NAME = "anthropic.messages"
PREFIX = "msg_"
NULL = Raw(b"null")
NO_INPUT = Raw(b"{}")

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "unknown": None,
}


def finish_of(stop_reason: str) -> str:
    """OpenAI's word for a stop reason, where it has one."""
    return _FINISH.get(stop_reason, stop_reason)


def stop_reason_of(finish: str) -> str | None:
    """Anthropic's word for a finish reason; None where the model server gave none."""
    return _STOP.get(finish, finish)


class _Strict(msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="type"):
    """Base of what is noticed to have a field that we do not know."""


class TextPiece(_Strict, tag="text_delta"):
    """Text."""

    kinds: ClassVar[tuple[ItemKind, ...]] = ("text",)
    """Items whose pieces say all of such a frame; the first is the kind of one that begins so."""
    text: str


class ThinkingPiece(_Strict, tag="thinking_delta"):
    """Reasoning."""

    kinds: ClassVar[tuple[ItemKind, ...]] = ("reasoning",)
    thinking: str


class SignaturePiece(_Strict, tag="signature_delta"):
    """All of the signature; it replaces an earlier one."""

    kinds: ClassVar[tuple[ItemKind, ...]] = ("reasoning",)
    signature: str


class InputPiece(_Strict, tag="input_json_delta"):
    """A fragment of a tool's input."""

    kinds: ClassVar[tuple[ItemKind, ...]] = ("tool_call", "data")
    partial_json: str


Piece = TextPiece | ThinkingPiece | SignaturePiece | InputPiece


class _LooseText(TextPiece, tag="text_delta", forbid_unknown_fields=False): ...


class _LooseThinking(ThinkingPiece, tag="thinking_delta", forbid_unknown_fields=False): ...


class _LooseSignature(SignaturePiece, tag="signature_delta", forbid_unknown_fields=False): ...


class _LooseInput(InputPiece, tag="input_json_delta", forbid_unknown_fields=False): ...


LoosePiece = _LooseText | _LooseThinking | _LooseSignature | _LooseInput
"""The same, with fields that we do not know."""


class BlockDelta(_Strict, tag="content_block_delta"):
    """What a block gains."""

    index: int
    delta: Piece


class BlockStop(_Strict, tag="content_block_stop"):
    """The end of a block."""

    index: int


class MessageStop(_Strict, tag="message_stop"):
    """The terminal marker."""


class Ping(_Strict, tag="ping"):
    """A sign of life."""


class Typed(msgspec.Struct, gc=False):
    """Any event, or any block. Some servers leave the `type` of errors out."""

    type: str = ""


class Indexed(msgspec.Struct, gc=False):
    """An event of a block."""

    index: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """What of the output was thinking."""

    thinking_tokens: int | None = None


class UsageBlock(msgspec.Struct, gc=False):
    """Token counts; `input_tokens` excludes what the cache read and wrote."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Message(msgspec.Struct, gc=False):
    """The message that `message_start` opens."""

    id: str = ""
    model: str = ""
    usage: UsageBlock | None = None


class MessageStart(msgspec.Struct, gc=False):
    """The first event."""

    message: Message


class Block(msgspec.Struct, gc=False):
    """A content block; which fields it has is said by its type."""

    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NO_INPUT


class BlockStart(msgspec.Struct, gc=False):
    """A block begins; which fields it may have is said by its type."""

    index: int
    content_block: Raw


class LooseDelta(msgspec.Struct, gc=False):
    """What a block gains, in any form."""

    index: int
    delta: Raw


class Ending(msgspec.Struct, gc=False):
    """How the message ends."""

    stop_reason: str | None = None


class MessageDelta(msgspec.Struct, gc=False):
    """The end of the message; counts are cumulative."""

    delta: Ending | None = None
    usage: UsageBlock | None = None


def merged_usage(known: Usage | None, block: UsageBlock) -> Usage:
    """The counts that hold after this block: what it does not say keeps its value."""
    known = known or Usage(0, 0)
    fresh = known.input - known.cached - known.cache_write
    cached, written = block.cache_read_input_tokens, block.cache_creation_input_tokens
    details = block.output_tokens_details
    reasoning = details.thinking_tokens if details else None
    cached = known.cached if cached is None else cached
    written = known.cache_write if written is None else written
    return Usage(
        input=(fresh if block.input_tokens is None else block.input_tokens) + cached + written,
        output=known.output if block.output_tokens is None else block.output_tokens,
        cached=cached,
        reasoning=known.reasoning if reasoning is None else reasoning,
        cache_write=written,
    )


def usage_block(usage: Usage, *, with_source: bool = True) -> dict[str, Any]:
    """Token counts in this shape; a count that the upstream did not give says so in `source` (P27)."""
    block: dict[str, Any] = {
        "input_tokens": max(usage.input - usage.cached - usage.cache_write, 0),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        block["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if with_source and usage.source != "provider":
        block["source"] = usage.source
    return block


def is_kept_frame(raw: Raw) -> bool:
    """Whether a record's raw frame is one that the decoder keeps: folds take it apart without asking again."""
    try:
        fields = _fields_of(raw)
        if msgspec.json.decode(fields.get("type", NULL)) == "message_start":
            _fields_of(fields.get("message", NULL))
    except NOT_JSON:
        return False
    return True
