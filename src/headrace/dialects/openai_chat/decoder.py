"""Upstream chat completion chunks to events.

A chunk keeps its raw JSON where the events do not say all that it says. Known fields that say nothing need none: null,
an empty `finish_reason`, `obfuscation`, a `role` or a call's `id`, `type` and `name` said before.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.base import one_line
from headrace.dialects.openai_chat import wire
from headrace.dialects.openai_chat.errors import in_band_error
from headrace.dialects.openai_chat.pattern import Pattern, text_of
from headrace.dialects.openai_chat.tool_calls import OpenCall, ToolCalls
from headrace.errors import HeadraceError, UpstreamProtocol
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
_LONGEST_ATTR = 256
"""Characters of a field that every later chunk of a view repeats: a megabyte would come again with each token."""
_STRICT = msgspec.json.Decoder(wire.ChunkFrame)
_USUAL_ROLES = (None, "assistant")


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

    __slots__ = (
        "_attrs",
        "_choices",
        "_finish",
        "_frames",
        "_items",
        "_model",
        "_numbers",
        "_pattern",
        "_provider",
        "_reindexed",
        "_unsaid",
        "_usage",
        "_usage_beside",
        "closed",
    )

    def __init__(self, provider: str, model: str) -> None:
        """`model` is used until the upstream names its own."""
        self._provider = provider
        self._model = model
        self._frames = 0
        self._items = 0
        self._choices: dict[int, _Choice] = {}
        self._attrs: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._usage_beside = False
        """Whether usage came beside choices: a view shows usage at the end, so here and later only raw says when."""
        self._finish = "unknown"
        self._numbers: list[int] = []
        """Our index of each tool call fragment of the frame, in order."""
        self._reindexed = False
        """Whether one of them is not the fragment's own."""
        self._unsaid = False
        """Whether the frame says something that its events do not."""
        self._pattern = Pattern()
        self.closed = False

    def feed(self, data: bytes) -> Chunk | None:
        """Decode one frame's data: see `Decoder.feed`."""
        if self.closed:
            return None
        pattern = self._pattern
        if pattern.begin and data.startswith(pattern.before) and data.endswith(pattern.after):
            text = text_of(data[pattern.begin : pattern.end])
            if text:
                self._frames += 1
                return Chunk((TextDelta(pattern.item, text),))
        return self._done() if data == DONE else self._read(data)

    def _read(self, data: bytes) -> Chunk | None:
        """Read a frame in full."""
        data = one_line(data)
        self._numbers.clear()
        self._reindexed = self._unsaid = False
        try:
            frame = _STRICT.decode(data)
        except NOT_JSON:
            frame = _tolerant(data)
            self._unsaid = True
        else:
            delta = self._more_text(frame)
            if delta is not None:
                self._pattern.learn(data, delta)
                return Chunk((delta,))
        self._pattern.forget()
        events = self._events(frame)
        raw = self._raw(data) if self._unsaid else None
        return Chunk(tuple(events), raw) if events or raw is not None else None

    def _more_text(self, frame: wire.ChunkFrame) -> TextDelta | None:
        """The frame of nearly every token: text for the item that is open, and nothing else. A third less time."""
        choices = frame.choices
        if choices is None or len(choices) != 1 or frame.usage is not None:
            return None
        choice = choices[0]
        state = self._choices.get(choice.index)
        delta = choice.delta
        if state is None or state.kind != "text" or delta is None or not delta.content:
            return None
        if (
            choice.finish_reason
            or delta.tool_calls
            or delta.refusal is not None
            or delta.reasoning_content is not None
            or delta.reasoning is not None
            or delta.role not in _USUAL_ROLES
            or wire.logprobs_of(choice) is not None
            or self._changed_attrs(frame)
        ):
            return None
        self._frames += 1
        return TextDelta(state.item, delta.content)

    def _raw(self, data: bytes) -> Raw:
        """The frame's own JSON, tool calls under the indexes that we give them (P18).

        Without white space around it, which a store that reads and writes it would drop.
        """
        return wire.with_call_indexes(data, self._numbers) if self._reindexed else Raw(data.strip())

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
        if self._changed_attrs(frame):
            self._note_attrs(frame, events)
        for choice in frame.choices or ():
            self._read_choice(choice, events)
        if frame.usage is not None:
            self._usage, whole = wire.usage_of(frame.usage)
            self._usage_beside |= bool(frame.choices)
            self._unsaid |= not whole or self._usage_beside
            events.append(self._usage)
        return events

    def _changed_attrs(self, frame: wire.ChunkFrame) -> bool:
        fingerprint, tier = frame.system_fingerprint, frame.service_tier
        if fingerprint is UNSET and tier is UNSET:
            return False
        attrs = self._attrs
        return (fingerprint is not UNSET and attrs.get("system_fingerprint", UNSET) != fingerprint) or (
            tier is not UNSET and attrs.get("service_tier", UNSET) != tier
        )

    def _note_attrs(self, frame: wire.ChunkFrame, events: list[Event]) -> None:
        """Emit the constant vendor fields whose value changed; one that is long stays with its chunk."""
        said = {"system_fingerprint": frame.system_fingerprint, "service_tier": frame.service_tier}
        changed: dict[str, str | None] = {}
        for name, value in said.items():
            if value is not UNSET and self._attrs.get(name, UNSET) != value:
                if value is not None and len(value) > _LONGEST_ATTR:
                    self._unsaid = True
                else:
                    changed[name] = value
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
        if delta.reasoning_content is None and delta.reasoning is None and delta.refusal is None:
            if delta.content is not None:
                self._text(state, "text", None, delta.content, logprobs, events)
                logprobs = None
        else:
            logprobs = self._texts(state, delta, logprobs, events)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._tool_call(state, call, events)
        if logprobs is not None:
            self._unsaid = True

    def _texts(self, state: _Choice, delta: wire.Delta, logprobs: Raw | None, events: list[Event]) -> Raw | None:
        """Several texts in one delta: reasoning comes before the text that it leads to.

        Returns:
            The logprobs, if there was no text that they could go with.
        """
        twice = delta.reasoning and delta.reasoning == delta.reasoning_content
        if twice:
            self._unsaid = True  # vLLM says one thing under both names
        rows: tuple[tuple[ItemKind, str | None, str | None], ...] = (
            ("reasoning", "reasoning_content", delta.reasoning_content),
            ("reasoning", "reasoning", None if twice else delta.reasoning),
            ("text", None, delta.content),
            ("refusal", None, delta.refusal),
        )
        silent = not any(text for _, _, text in rows)
        for kind, name, text in rows:
            if text is not None:
                carried = logprobs if text or silent else None
                self._text(state, kind, name, text, carried, events)
                logprobs = None if carried is not None else logprobs
        return logprobs

    def _note_role(self, state: _Choice, role: str | None, *, said: bool) -> None:
        """A role goes with the first thing that its choice says; alone it needs the raw frame, except in the first."""
        if role not in _USUAL_ROLES:
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
            if not text and logprobs is None:
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
        data.decode()  # msgspec looks only at the strings that it reads
        frame = wire.read_loose(data)
    except NOT_JSON as problem:
        raise _error_in(data) or _not_a_chunk(problem) from problem
    if frame.error is not wire.NULL or frame.object == "error":
        error = _error_in(data)
        if error is not None:
            raise error
    return frame


def _error_in(data: bytes) -> HeadraceError | None:
    """The error that the frame is, whatever else is wrong with it."""
    try:
        return in_band_error(msgspec.json.decode(data, type=dict[str, Any]))
    except NOT_JSON:
        return None


def _not_a_chunk(problem: Exception) -> UpstreamProtocol:
    what = "a chat completion chunk" if isinstance(problem, msgspec.ValidationError) else "JSON"
    return UpstreamProtocol(f"The model server sent a frame that is not {what}: {problem}.")
