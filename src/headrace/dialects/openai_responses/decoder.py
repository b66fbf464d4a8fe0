"""Upstream Responses frames to events.

Only frames that come with every token are told by their events alone; all others keep their JSON, and so does a delta
for a place that no frame before it has named.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.base import one_line
from headrace.dialects.openai_responses import wire
from headrace.dialects.openai_responses.errors import in_band_error
from headrace.dialects.openai_responses.open_items import READERS, OpenItems
from headrace.dialects.openai_responses.wire import ENDS, NAME, RawFrame
from headrace.errors import UpstreamError, UpstreamProtocol
from headrace.events import ChoiceEnd, Chunk, Event, StepEnd, StepStart, Usage

_REASONS = {"max_output_tokens": "length"}


class ResponsesDecoder:
    """Frames of one upstream answer; `closed` after the terminal one."""

    __slots__ = ("_items", "_model", "_provider", "_started", "closed")

    def __init__(self, provider: str, model: str) -> None:
        """`model` is used until the upstream names its own."""
        self._provider = provider
        self._model = model
        self._started = False
        self._items = OpenItems()
        self.closed = False

    def feed(self, data: bytes) -> Chunk | None:
        """Decode one frame's data: see `Decoder.feed`."""
        if self.closed:
            return None
        try:
            delta = wire.read_delta(data)
        except NOT_JSON:
            return self._read(data)
        event = self._items.more(delta)
        return Chunk((event,)) if event is not None else self._read(data)

    def _read(self, data: bytes) -> Chunk | None:
        """Any other frame, which keeps its JSON."""
        data = one_line(data)
        if data == b"[DONE]":  # which some servers add
            return None
        try:
            data.decode()  # msgspec looks only at the strings that it reads
            frame = wire.read_frame(data)
        except NOT_JSON as problem:
            raise in_band_error(data) or _not_a_frame(problem) from problem
        if frame.type in ("error", "response.failed"):
            raise in_band_error(data) or UpstreamError("The model server failed: no reason given")
        events: list[Event] = []
        if not self._started:
            self._started = True
            said = frame.response or wire.Response()
            events.append(StepStart(self._provider, said.model or self._model, NAME, said.id or ""))
        if frame.type in ENDS:
            self._finish(frame, events)
        elif frame.type in READERS:
            READERS[frame.type](self._items, frame, events)
        return Chunk(tuple(events), Raw(data.strip()))

    def _finish(self, frame: RawFrame, events: list[Event]) -> None:
        """The end: what is still open closes, and why it ended."""
        items, said = self._items, frame.response or wire.Response()
        reason = said.incomplete_details.reason if said.incomplete_details else None
        if reason == "cancelled":  # as another Headrace says it
            raise UpstreamError("The model server stopped the answer: it was cancelled there.")
        for index, item in enumerate(said.output or ()) if not items.begun else ():
            items.end_item(RawFrame(frame.type, output_index=index, item=item), events)
        for index in sorted(items.open):
            items.close(index, events)
        finish = "tool_calls" if items.called else "stop"
        if frame.type != "response.completed":
            finish = _REASONS.get(reason or "", reason or "unknown")
        self.closed = True
        events += [ChoiceEnd(0, finish), StepEnd(finish, _usage_of(said.usage) if said.usage else None)]


def _usage_of(block: wire.UsageBlock) -> Usage:
    read, written = block.input_tokens_details, block.output_tokens_details
    return Usage(
        input=block.input_tokens or 0,
        output=block.output_tokens or 0,
        cached=(read and read.cached_tokens) or 0,
        reasoning=(written and written.reasoning_tokens) or 0,
        cache_write=(read and read.cache_write_tokens) or 0,
    )


def _not_a_frame(problem: Exception) -> UpstreamProtocol:
    what = "a frame of the Responses API" if isinstance(problem, msgspec.ValidationError) else "JSON"
    return UpstreamProtocol(f"The model server sent a frame that is not {what}: {problem}.")
