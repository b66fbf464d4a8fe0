"""Which tool call a fragment belongs to, whatever the model server says of indexes and ids (P18)."""

from __future__ import annotations

from headrace.dialects.openai_chat.wire import ToolCallDelta


class OpenCall:
    """A tool call that may still grow."""

    __slots__ = ("call_id", "frame", "item", "name", "number")

    def __init__(self, call: ToolCallDelta, item: int, number: int, frame: int) -> None:
        self.item = item
        self.number = number
        """Its index in our frames: calls of a choice are counted from 0 in the order in which they begin."""
        self.call_id = call.id or None
        self.name = _name(call)
        self.frame = frame
        """The last frame that touched it."""


class ToolCalls:
    """The tool calls of one choice.

    Servers leave `index` out, send 0 for every call, or repeat id and name with every fragment. An id decides where
    there is one, then the index, then the name; a bare fragment continues the last call.
    """

    def __init__(self) -> None:
        self._by_index: dict[int, OpenCall] = {}
        self._by_id: dict[str, OpenCall] = {}
        self._open: list[OpenCall] = []
        self._last: OpenCall | None = None
        self._begun = 0

    def find(self, call: ToolCallDelta, frame: int) -> OpenCall | None:
        """The call that this fragment continues; None when it begins one."""
        known = self._find(call, frame)
        if known is not None:
            known.frame = frame
            self._last = known
        return known

    def _find(self, call: ToolCallDelta, frame: int) -> OpenCall | None:
        at_index = None if call.index is None else self._by_index.get(call.index)
        name = _name(call)
        if call.id:
            same = self._by_id.get(call.id)
            if same is not None and (same is at_index or call.index is None or name is None):
                return same
            if at_index is None or at_index.call_id is not None:
                return None
        if call.index is None:
            return self._last if name is None else None
        if at_index is None or name is None:
            return at_index
        if at_index.name not in (None, name):
            return None
        # The same name again: a server that repeats it with every fragment, but no server cuts a call within a frame.
        return None if at_index.frame == frame else at_index

    def begin(self, call: ToolCallDelta, item: int, frame: int) -> OpenCall:
        """Add the call that this fragment begins."""
        known = OpenCall(call, item, self._begun, frame)
        self._by_index[known.number if call.index is None else call.index] = known
        if known.call_id is not None:
            self._by_id[known.call_id] = known
        self._open.append(known)
        self._last = known
        self._begun += 1
        return known

    def close(self) -> list[OpenCall]:
        """End all of them, in the order in which they began."""
        ended, self._open = self._open, []
        self._by_index.clear()
        self._by_id.clear()
        self._last = None
        return ended


def _name(call: ToolCallDelta) -> str | None:
    return (call.function.name if call.function else None) or None
