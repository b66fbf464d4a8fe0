"""Upstream chat completion chunks to events."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from headrace.dialects.openai_chat import wire
from headrace.errors import RateLimited, UpstreamError, UpstreamProtocol
from headrace.events import (
    ArgsDelta,
    Attrs,
    ChoiceEnd,
    Chunk,
    Event,
    ItemEnd,
    ItemKind,
    ItemStart,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)

NAME = "openai.chat"
DONE = b"[DONE]"
_STRICT = msgspec.json.Decoder(wire.ChunkFrame)
_LOOSE = msgspec.json.Decoder()


class _OpenCall:
    """A tool call that may still grow."""

    __slots__ = ("call_id", "item")

    def __init__(self, item: int, call_id: str | None) -> None:
        self.item = item
        self.call_id = call_id


class _Choice:
    """What is open in one alternative: at most one text-like item, any number of tool calls."""

    __slots__ = ("calls", "item", "kind", "last_call", "wire_indexes")

    def __init__(self) -> None:
        self.kind: ItemKind | None = None
        self.item = -1
        self.calls: dict[int, _OpenCall] = {}
        self.last_call: int = -1
        self.wire_indexes = 0
        """Tool calls begun so far: the index that a sane server gives to the next."""


class ChatDecoder:
    """Frames of one upstream answer; `closed` after `[DONE]`."""

    def __init__(self, provider: str, model: str) -> None:
        """`model` is used until the upstream names its own."""
        self._provider = provider
        self._model = model
        self._started = False
        self._items = 0
        self._choices: dict[int, _Choice] = {}
        self._attrs: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._finish = "unknown"
        self._reindexed = False
        self._unsaid = False
        self.closed = False

    def feed(self, data: bytes) -> Chunk | None:
        """Decode one frame's data: see `Decoder.feed`."""
        if data == DONE:
            self.closed = True
            return Chunk((StepEnd(self._finish, self._usage),))
        self._reindexed = False
        self._unsaid = False
        try:
            frame = _STRICT.decode(data)
        except msgspec.DecodeError:
            frame = _tolerant(data)
            self._unsaid = True
        events = self._events(frame)
        # A call's identity (P18) outweighs a vendor's field that stands beside a wrong index.
        raw = _one_line(data) if self._unsaid and not self._reindexed else None
        if not events and raw is None:
            return None
        return Chunk(tuple(events), raw)

    def _events(self, frame: wire.ChunkFrame) -> list[Event]:
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(
                StepStart(
                    provider=self._provider,
                    model=frame.model or self._model,
                    dialect=NAME,
                    upstream_id=frame.id or "",
                )
            )
        if frame.system_fingerprint is not UNSET or frame.service_tier is not UNSET:
            self._note_attrs(frame, events)
        for choice in frame.choices or ():
            self._read_choice(choice, events)
        if frame.usage is not None:
            self._usage = _usage(frame.usage)
            events.append(self._usage)
        return events

    def _note_attrs(self, frame: wire.ChunkFrame, events: list[Event]) -> None:
        """Emit the constant vendor fields whose value changed."""
        changed = {
            name: value
            for name, value in (
                ("system_fingerprint", frame.system_fingerprint),
                ("service_tier", frame.service_tier),
            )
            if value is not UNSET and self._attrs.get(name, UNSET) != value
        }
        if changed:
            self._attrs.update(changed)
            events.append(Attrs(changed))

    def _read_choice(self, choice: wire.Choice, events: list[Event]) -> None:
        state = self._choices.get(choice.index)
        if state is None:
            state = self._choices[choice.index] = _Choice()
        delta = choice.delta
        if delta is not None:
            logprobs = None if bytes(choice.logprobs) == b"null" else Raw(bytes(choice.logprobs))
            if logprobs is not None and delta.content is None and delta.refusal is None:
                self._unsaid = True
            if delta.content is not None:
                self._text(state, choice.index, "text", None, delta.content, logprobs, events)
            for name, text in (("reasoning_content", delta.reasoning_content), ("reasoning", delta.reasoning)):
                if text is not None:
                    self._text(state, choice.index, "reasoning", name, text, None, events)
            if delta.refusal is not None:
                self._text(state, choice.index, "refusal", None, delta.refusal, logprobs, events)
            for call in delta.tool_calls or ():
                self._tool_call(state, choice.index, call, events)
        if choice.finish_reason is not None:
            self._end_choice(state, choice.index, choice.finish_reason, events)

    def _text(  # noqa: PLR0913, PLR0917 - one row of a table, called from one place
        self,
        state: _Choice,
        choice: int,
        kind: ItemKind,
        name: str | None,
        text: str,
        logprobs: Raw | None,
        events: list[Event],
    ) -> None:
        if state.kind != kind:
            if not text and (state.kind is not None or kind == "reasoning"):
                return  # servers send `content: ""` beside reasoning or tool calls: nothing begins there
            self._close_text(state, events)
            state.kind, state.item = kind, self._next_item()
            events.append(ItemStart(item=state.item, kind=kind, choice=choice, name=name))
        if text or logprobs is not None:
            events.append(TextDelta(state.item, text, logprobs))

    def _tool_call(self, state: _Choice, choice: int, call: wire.ToolCallDelta, events: list[Event]) -> None:
        index = call.index if call.index is not None else self._guess_index(state, call)
        known = state.calls.get(index)
        function = call.function or wire.FunctionDelta()
        if known is None or (call.id and known.call_id and call.id != known.call_id):
            self._reindexed |= call.index is None or known is not None or index != state.wire_indexes
            self._close_text(state, events)
            known = state.calls[index] = _OpenCall(self._next_item(), call.id)
            state.wire_indexes += 1
            events.append(
                ItemStart(item=known.item, kind="tool_call", choice=choice, name=function.name, call_id=call.id)
            )
        state.last_call = index
        if function.arguments:
            events.append(ArgsDelta(known.item, function.arguments))

    @staticmethod
    def _guess_index(state: _Choice, call: wire.ToolCallDelta) -> int:
        """Without an index, an id begins a new call and a fragment continues the last one."""
        if not call.id and state.last_call >= 0:
            return state.last_call
        for index, known in state.calls.items():
            if known.call_id == call.id:
                return index
        return max(state.calls, default=-1) + 1

    def _end_choice(self, state: _Choice, choice: int, reason: str, events: list[Event]) -> None:
        self._close_text(state, events)
        events.extend(ItemEnd(call.item) for call in state.calls.values())
        state.calls.clear()
        if choice == 0:
            self._finish = reason
        events.append(ChoiceEnd(choice, reason))

    @staticmethod
    def _close_text(state: _Choice, events: list[Event]) -> None:
        if state.kind is not None:
            events.append(ItemEnd(state.item))
            state.kind = None

    def _next_item(self) -> int:
        self._items += 1
        return self._items - 1


def _usage(block: wire.UsageBlock) -> Usage:
    cached = block.prompt_tokens_details and block.prompt_tokens_details.cached_tokens
    reasoning = block.completion_tokens_details and block.completion_tokens_details.reasoning_tokens
    return Usage(
        input=block.prompt_tokens, output=block.completion_tokens, cached=cached or 0, reasoning=reasoning or 0
    )


def _one_line(data: bytes) -> Raw:
    """The frame's own bytes, unless it was spread over several `data:` lines."""
    return Raw(bytes(data) if b"\n" not in data else msgspec.json.encode(_LOOSE.decode(data)))


def _tolerant(data: bytes) -> wire.ChunkFrame:
    """Read a frame that the strict structs refuse: an error, or one with fields that are not modelled."""
    try:
        value = _LOOSE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UpstreamProtocol(f"The model server sent a frame that is not JSON ({problem}).") from problem
    if not isinstance(value, dict):
        raise UpstreamProtocol("The model server sent a frame that is not a JSON object.")
    if value.get("error") or value.get("object") == "error":  # pyright: ignore[reportUnknownMemberType]
        raise _in_band_error(value.get("error") or value)  # pyright: ignore[reportUnknownMemberType]
    try:
        return wire.convert_known(value)
    except msgspec.ValidationError as problem:
        raise UpstreamProtocol(f"The model server sent a frame that is not a chat chunk ({problem}).") from problem


def _in_band_error(error: Any) -> UpstreamError | RateLimited:
    """An error inside the stream; whether a retry helps follows from its code, where it has one."""
    fields: dict[str, Any] = error if isinstance(error, dict) else {"message": str(error)}
    message = f"The model server failed: {fields.get('message') or 'no reason given'}"
    code = fields.get("code") or fields.get("type")
    if code in (429, "429", "rate_limit_exceeded", "rate_limit_error"):
        return RateLimited(message, code="upstream_rate_limited")
    try:
        status = int(code or 0)
    except (TypeError, ValueError):
        status = 0
    retryable = status >= 500 if status else code not in ("invalid_request_error", "context_length_exceeded")
    return UpstreamError(message, retryable=retryable)
