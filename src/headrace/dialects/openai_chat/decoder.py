"""Upstream chat completion chunks to events.

A chunk keeps its raw JSON where the events do not say all that it says. Known fields that say nothing need none: null,
an empty `finish_reason`, `obfuscation`, a `role` or a call's `id`, `type` and `name` said before.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from headrace.dialects.openai_chat import wire
from headrace.dialects.openai_chat.errors import in_band_error
from headrace.dialects.openai_chat.tool_calls import OpenCall, ToolCalls
from headrace.errors import UpstreamProtocol
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
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Choice:
    """What is open in one alternative: at most one text-like item, any number of tool calls."""

    __slots__ = ("calls", "fresh", "index", "item", "kind", "name")

    def __init__(self, index: int) -> None:
        self.index = index
        self.kind: ItemKind | None = None
        self.name: str | None = None
        self.item = -1
        self.calls = ToolCalls()
        self.fresh = True
        """Nothing has begun, not even by a role."""


class ChatDecoder:
    """Frames of one upstream answer; `closed` after `[DONE]`."""

    def __init__(self, provider: str, model: str) -> None:
        """`model` is used until the upstream names its own."""
        self._provider = provider
        self._model = model
        self._frames = 0
        self._items = 0
        self._choices: dict[int, _Choice] = {}
        self._attrs: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._finish = "unknown"
        self._numbers: list[int] = []
        """Our index of each tool call fragment of the frame, in order."""
        self._reindexed = False
        """Whether one of them is not the fragment's own."""
        self._unsaid = False
        """Whether the frame says something that its events do not."""
        self.closed = False

    def feed(self, data: bytes) -> Chunk | None:
        """Decode one frame's data: see `Decoder.feed`."""
        if self.closed:
            return None
        if data == DONE:
            return self._done()
        if b"\n" in data or b"\r" in data:  # spread over several `data:` lines; in JSON only white space can hold them
            data = data.replace(b"\n", b" ").replace(b"\r", b" ")
        self._numbers.clear()
        self._reindexed = self._unsaid = False
        try:
            frame = _STRICT.decode(data)
        except _NOT_JSON:
            frame = _tolerant(data)
            self._unsaid = True
        events = self._events(frame)
        raw = self._raw(data) if self._unsaid else None
        return Chunk(tuple(events), raw) if events or raw is not None else None

    def _raw(self, data: bytes) -> Raw:
        """The frame's own JSON, tool calls under the indexes that we give them (P18)."""
        return wire.with_call_indexes(data, self._numbers) if self._reindexed else Raw(bytes(data))

    def _done(self) -> Chunk:
        """The end: close what the upstream left open."""
        self.closed = True
        events: list[Event] = [] if self._frames else [self._step_start(wire.ChunkFrame())]
        for state in self._choices.values():
            self._close_items(state, events)
        events.append(StepEnd(self._finish, self._usage))
        return Chunk(tuple(events))

    def _step_start(self, frame: wire.ChunkFrame) -> StepStart:
        return StepStart(
            provider=self._provider,
            model=frame.model or self._model,
            dialect=NAME,
            upstream_id=frame.id or "",
        )

    def _events(self, frame: wire.ChunkFrame) -> list[Event]:
        events: list[Event] = []
        self._frames += 1
        if self._frames == 1:
            events.append(self._step_start(frame))
            self._unsaid |= len(frame.choices or ()) != 1  # a view opens with the role of one choice
        if frame.system_fingerprint is not UNSET or frame.service_tier is not UNSET:
            self._note_attrs(frame, events)
        for choice in frame.choices or ():
            self._read_choice(choice, events)
        if frame.usage is not None:
            self._usage, whole = wire.usage_of(frame.usage)
            self._unsaid |= not whole or bool(frame.choices)
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
            state = self._choices[choice.index] = _Choice(choice.index)
        logprobs = wire.logprobs_of(choice)
        delta = choice.delta
        if delta is not None:
            before = len(events)
            self._read_delta(state, delta, logprobs, events)
            self._note_role(state, delta.role, said=len(events) > before)
        elif logprobs is not None:
            self._unsaid = True
        if choice.finish_reason:
            self._close_items(state, events)
            if choice.index == 0:
                self._finish = choice.finish_reason
            events.append(ChoiceEnd(choice.index, choice.finish_reason))

    def _read_delta(self, state: _Choice, delta: wire.Delta, logprobs: Raw | None, events: list[Event]) -> None:
        """Reasoning comes before the text that it leads to, also where one frame has the end of it and the start."""
        if delta.reasoning_content is not None or delta.reasoning is not None:
            self._reasoning(state, delta.reasoning_content, delta.reasoning, events)
        if delta.content is not None:
            self._text(state, "text", None, delta.content, logprobs, events)
            logprobs = None
        if delta.refusal is not None:
            self._text(state, "refusal", None, delta.refusal, logprobs, events)
            logprobs = None
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._tool_call(state, call, events)
        if logprobs is not None:
            self._unsaid = True

    def _reasoning(self, state: _Choice, content: str | None, other: str | None, events: list[Event]) -> None:
        if content is not None:
            self._text(state, "reasoning", "reasoning_content", content, None, events)
        if other and other == content:
            self._unsaid = True  # vLLM says one thing under both names
        elif other is not None:
            self._text(state, "reasoning", "reasoning", other, None, events)

    def _note_role(self, state: _Choice, role: str | None, *, said: bool) -> None:
        """A role goes with the first thing that its choice says; alone it needs the raw frame, except in the first."""
        if role is not None and role != "assistant":
            self._unsaid = True
        elif role is not None and state.fresh and not said:
            self._unsaid |= self._frames > 1 or state.index != 0
        state.fresh &= role is None and not said

    def _text(
        self,
        state: _Choice,
        kind: ItemKind,
        name: str | None,
        text: str,
        logprobs: Raw | None,
        events: list[Event],
    ) -> None:
        if state.kind != kind or state.name != name:
            if not text and not (kind == "text" and state.fresh):
                # Servers send empty strings beside reasoning and tool calls: nothing begins there.
                self._unsaid = True
                return
            self._close_text(state, events)
            state.kind, state.name, state.item, state.fresh = kind, name, self._next_item(), False
            events.append(ItemStart(item=state.item, kind=kind, choice=state.index, name=name))
        elif not text and logprobs is None:
            self._unsaid = True
        if text or logprobs is not None:
            events.append(TextDelta(state.item, text, logprobs))

    def _tool_call(self, state: _Choice, call: wire.ToolCallDelta, events: list[Event]) -> None:
        function = call.function or wire.FunctionDelta()
        known = state.calls.find(call, self._frames)
        if known is None:
            self._close_text(state, events)
            known = state.calls.begin(call, self._next_item(), self._frames)
            state.fresh = False
            events.append(
                ItemStart(item=known.item, kind="tool_call", choice=state.index, name=function.name, call_id=call.id)
            )
        elif _adds(call, function, known):
            self._unsaid = True
        if call.type not in (None, "", "function"):
            self._unsaid = True
        self._numbers.append(known.number)
        self._reindexed |= call.index != known.number
        if function.arguments:
            events.append(ArgsDelta(known.item, function.arguments))

    def _close_items(self, state: _Choice, events: list[Event]) -> None:
        self._close_text(state, events)
        events.extend(ItemEnd(call.item) for call in state.calls.close())

    @staticmethod
    def _close_text(state: _Choice, events: list[Event]) -> None:
        if state.kind is not None:
            events.append(ItemEnd(state.item))
            state.kind = None

    def _next_item(self) -> int:
        self._items += 1
        return self._items - 1


def _adds(call: wire.ToolCallDelta, function: wire.FunctionDelta, known: OpenCall) -> bool:
    """Whether a later fragment says more than arguments: an id or a name that came late, or an empty fragment."""
    late_id = bool(call.id) and call.id != known.call_id
    late_name = bool(function.name) and function.name != known.name
    return late_id or late_name or function.arguments == ""


def _tolerant(data: bytes) -> wire.ChunkFrame:
    """Read a frame that the strict structs refuse: an error, or one with fields that are not modelled."""
    try:
        value = _LOOSE.decode(data)
    except _NOT_JSON as problem:
        raise UpstreamProtocol(f"The model server sent a frame that is not JSON ({problem}).") from problem
    if not isinstance(value, dict):
        raise UpstreamProtocol("The model server sent a frame that is not a JSON object.")
    error = in_band_error(value)  # pyright: ignore[reportUnknownArgumentType]
    if error is not None:
        raise error
    try:
        return wire.convert_known(value)
    except _NOT_JSON as problem:
        raise UpstreamProtocol(f"The model server sent a frame that is not a chat chunk ({problem}).") from problem
