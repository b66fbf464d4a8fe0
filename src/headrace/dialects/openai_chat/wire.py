"""The JSON of OpenAI chat completion chunks, as strict structs.

Strict means that an unknown field is noticed: the frame then keeps its raw JSON. Noticing costs nothing, because
msgspec rejects the frame while it parses; only then is the tolerant reading tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from headrace.codecs import NOT_JSON
from headrace.errors import UpstreamProtocol
from headrace.events import Usage

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

    index: Annotated[int, Meta(ge=0)] = 0
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

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
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
    system_fingerprint: str | UnsetType | None = UNSET
    service_tier: str | UnsetType | None = UNSET
    obfuscation: str | None = None


class _LooseFunction(FunctionDelta, gc=False, forbid_unknown_fields=False):
    arguments: Raw = NULL  # pyright: ignore[reportIncompatibleVariableOverride]


class _LooseCall(ToolCallDelta, gc=False, forbid_unknown_fields=False):
    function: _LooseFunction | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class _LoosePart(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _LooseDelta(Delta, gc=False, forbid_unknown_fields=False):
    content: str | list[_LoosePart] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    tool_calls: list[_LooseCall] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class _LooseChoice(Choice, gc=False, forbid_unknown_fields=False):
    delta: _LooseDelta | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class _LooseCached(CachedDetails, gc=False, forbid_unknown_fields=False): ...


class _LooseReasoning(ReasoningDetails, gc=False, forbid_unknown_fields=False): ...


class _LooseUsage(UsageBlock, gc=False, forbid_unknown_fields=False):
    prompt_tokens_details: _LooseCached | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    completion_tokens_details: _LooseReasoning | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class LooseFrame(ChunkFrame, gc=False, forbid_unknown_fields=False):
    """The same chunk, tolerant of unknown fields and forms. `error` means that it is no chunk at all."""

    choices: list[_LooseChoice] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    usage: _LooseUsage | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    error: Raw = NULL


_loose = msgspec.json.Decoder(LooseFrame).decode


def read_loose(data: bytes | Raw) -> LooseFrame:
    """A chunk in any form: content in parts becomes their text, arguments that are an object become its JSON.

    Raises:
        codecs.NOT_JSON: it is none.
    """
    frame = _loose(data)
    for choice in frame.choices or ():
        if choice.delta is not None:
            _make_plain(choice.delta)
    return frame


def _make_plain(delta: Delta) -> None:
    content = cast("str | list[_LoosePart] | None", delta.content)
    if isinstance(content, list):  # as Mistral sends an answer that thinks
        delta.content = "".join(part.text or "" for part in content if part.type == "text") or None
    for call in delta.tool_calls or ():
        if call.function is not None:
            raw = bytes(cast("Raw", call.function.arguments))
            is_text = raw[:1] in (b'"', b"n")
            call.function.arguments = msgspec.json.decode(raw, type=str | None) if is_text else raw.decode()


def is_kept_frame(raw: Raw) -> bool:
    """Whether a record's raw frame is one that the decoder keeps: folds take it apart without asking again."""
    try:
        frame = read_loose(raw)
    except NOT_JSON:
        return False
    calls = (call for choice in frame.choices or () for call in (choice.delta and choice.delta.tool_calls) or ())
    return all(call.index is not None for call in calls)


def logprobs_of(choice: Choice) -> Raw | None:
    """A copy of the choice's logprobs, which would otherwise hold the whole frame; None for null.

    Raises:
        UpstreamProtocol: they are not UTF-8; msgspec checks that only in strings that it reads.
    """
    if choice.logprobs is NULL:
        return None
    data = bytes(choice.logprobs)
    if data == b"null":
        return None
    try:
        data.decode()
    except UnicodeDecodeError as problem:
        raise UpstreamProtocol(f"The model server sent logprobs that are not UTF-8 ({problem}).") from problem
    return Raw(data)


def joined_logprobs(pieces: Iterable[Raw]) -> dict[str, Any] | None:
    """Logprobs of several pieces as one value: lists joined, of anything else the last; None when there are none."""
    joined: dict[str, Any] = {}
    for piece in pieces:
        if not bytes(piece).startswith(b"{"):
            continue
        for name, value in msgspec.json.decode(piece, type=dict[str, Raw]).items():
            known = joined.get(name)
            if bytes(value).startswith(b"["):
                elements = msgspec.json.decode(value, type=list[Raw])
                if isinstance(known, list):
                    known.extend(elements)  # pyright: ignore[reportUnknownMemberType]
                else:
                    joined[name] = elements
            elif known is None or bytes(value) != b"null":
                joined[name] = value
    return joined or None


def usage_of(block: UsageBlock) -> tuple[Usage, bool]:
    """The counts, and whether they are all that the block says."""
    prompt, completion = block.prompt_tokens or 0, block.completion_tokens or 0
    prompt_details, completion_details = block.prompt_tokens_details, block.completion_tokens_details
    cached = (prompt_details and prompt_details.cached_tokens) or 0
    reasoning = (completion_details and completion_details.reasoning_tokens) or 0
    whole = (
        block.total_tokens in (None, prompt + completion)
        and bool(cached) == (prompt_details is not None)
        and bool(reasoning) == (completion_details is not None)
    )
    return Usage(input=prompt, output=completion, cached=cached, reasoning=reasoning), whole


def with_call_indexes(data: bytes, numbers: Sequence[int]) -> Raw:
    """The chunk with these indexes on its tool calls, in order; everything else stays byte for byte."""
    left = iter(numbers)
    frame = msgspec.json.decode(data, type=dict[str, Raw])
    choices = msgspec.json.decode(frame["choices"], type=list[dict[str, Raw]])
    fields: list[dict[str, Any]] = []
    for choice in choices:
        delta: dict[str, Any] = msgspec.json.decode(choice.get("delta", NULL), type=dict[str, Raw] | None) or {}
        calls = msgspec.json.decode(delta.get("tool_calls", NULL), type=list[dict[str, Raw]] | None)
        if calls:
            delta["tool_calls"] = [{**call, "index": next(left)} for call in calls]
            fields.append({**choice, "delta": delta})
        else:
            fields.append({**choice})
    return Raw(msgspec.json.encode({**frame, "choices": fields}))
