"""The JSON of OpenAI chat completion chunks, as strict structs.

Strict means that an unknown field is noticed: the frame then keeps its raw JSON. Noticing costs nothing, because
msgspec rejects the frame while it parses; only then is the slower, tolerant reading tried.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

NULL = Raw(b"null")


class FunctionDelta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """`name` comes once, `arguments` in fragments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """`id` comes once; some servers leave `index` out, or repeat it for another call."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What one choice gains. `reasoning_content` and `reasoning` are vendors' two names for one thing."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class Choice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One alternative's part of a chunk."""

    index: int = 0
    delta: Delta | None = None
    logprobs: Raw = NULL
    finish_reason: str | None = None


class CachedDetails(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The part of `prompt_tokens_details` that the event model knows."""

    cached_tokens: int | None = None


class ReasoningDetails(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The part of `completion_tokens_details` that the event model knows."""

    reasoning_tokens: int | None = None


class UsageBlock(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Token counts; cached tokens are part of the prompt's, reasoning tokens of the completion's."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: CachedDetails | None = None
    completion_tokens_details: ReasoningDetails | None = None


class ChunkFrame(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One `chat.completion.chunk`. `obfuscation` is padding against traffic analysis and is dropped."""

    id: str | None = None
    object: str | None = None
    created: float | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: UsageBlock | None = None
    system_fingerprint: str | None | UnsetType = UNSET
    service_tier: str | None | UnsetType = UNSET
    obfuscation: str | None = None


_FIELDS: dict[type, frozenset[str]] = {
    struct: frozenset(struct.__struct_fields__)
    for struct in (
        FunctionDelta,
        ToolCallDelta,
        Delta,
        Choice,
        CachedDetails,
        ReasoningDetails,
        UsageBlock,
        ChunkFrame,
    )
}
_NESTED: dict[tuple[type, str], type] = {
    (ChunkFrame, "choices"): Choice,
    (ChunkFrame, "usage"): UsageBlock,
    (Choice, "delta"): Delta,
    (Delta, "tool_calls"): ToolCallDelta,
    (ToolCallDelta, "function"): FunctionDelta,
    (UsageBlock, "prompt_tokens_details"): CachedDetails,
    (UsageBlock, "completion_tokens_details"): ReasoningDetails,
}


def known_part(value: Any, struct: type) -> Any:
    """The same JSON without the fields that the strict structs would refuse."""
    if isinstance(value, list):
        return [known_part(element, struct) for element in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for name, field in value.items():  # pyright: ignore[reportUnknownVariableType]
        if name in _FIELDS[struct]:
            nested = _NESTED.get((struct, name))  # pyright: ignore[reportUnknownArgumentType]
            kept[name] = known_part(field, nested) if nested else field
    return kept


def convert_known(value: Any) -> ChunkFrame:
    """A frame from decoded JSON, tolerant of unknown fields. Raises `msgspec.ValidationError` for wrong types."""
    pruned = known_part(value, ChunkFrame)
    for choice in (pruned.get("choices") or []) if isinstance(pruned, dict) else []:  # pyright: ignore
        if isinstance(choice, dict) and "logprobs" in choice:
            choice["logprobs"] = Raw(msgspec.json.encode(choice["logprobs"]))
    return msgspec.convert(pruned, ChunkFrame)
