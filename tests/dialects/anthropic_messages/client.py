"""A Messages client as Anthropic documents it, written without Headrace's code: what tests compare with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_PIECES = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("tool_use", "input"),
}


class Client:
    """Adds up the events of one stream; strict about what no stream may do."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.blocks: list[dict[str, Any]] = []
        self.open: set[int] = set()
        self.stop_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None
        self.done = False

    def read(self, frames: Iterable[dict[str, Any]]) -> Client:
        for frame in frames:
            assert not self.done and self.error is None, "something follows the end"
            kind = frame["type"]
            assert self.message is not None or kind in ("message_start", "error")
            getattr(self, f"on_{kind}")(frame)
        return self

    def on_message_start(self, frame: dict[str, Any]) -> None:
        assert self.message is None, "a message begins once"
        self.message = frame["message"]
        self.usage = dict(frame["message"]["usage"])

    def on_content_block_start(self, frame: dict[str, Any]) -> None:
        assert frame["index"] == len(self.blocks), "indexes grow by one"
        block = dict(frame["content_block"])
        if block["type"] == "tool_use":
            assert block["input"] == {}
            block["input"] = ""
        self.blocks.append(block)
        self.open.add(frame["index"])

    def on_content_block_delta(self, frame: dict[str, Any]) -> None:
        assert frame["index"] in self.open, "a delta outside of its block"
        block, delta = self.blocks[frame["index"]], frame["delta"]
        if delta["type"] == "signature_delta":
            assert block["type"] == "thinking"
            block["signature"] = delta["signature"]
            return
        kind, field = _PIECES[delta["type"]]
        assert block["type"] == kind
        block[field] += delta["partial_json" if kind == "tool_use" else field]

    def on_content_block_stop(self, frame: dict[str, Any]) -> None:
        self.open.remove(frame["index"])

    def on_message_delta(self, frame: dict[str, Any]) -> None:
        assert not self.open, "the message ends before a block of it"
        self.stop_reason = frame["delta"]["stop_reason"]
        self.usage |= frame["usage"]

    def on_message_stop(self, frame: dict[str, Any]) -> None:
        self.done = True

    def on_error(self, frame: dict[str, Any]) -> None:
        self.error = frame["error"]
