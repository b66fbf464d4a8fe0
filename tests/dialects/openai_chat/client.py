"""A chat completions client as OpenAI documents it, written without Headrace's code: what tests compare with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

STRINGS = ("content", "refusal", "reasoning_content", "reasoning")


class Client:
    """Adds up the frames of one stream; strict about what no stream may do."""

    def __init__(self) -> None:
        self.heads: list[dict[str, Any]] = []
        self.choices: dict[int, dict[str, Any]] = {}
        self.usages: list[dict[str, Any]] = []
        self.error: dict[str, Any] | None = None
        self.done = False

    def read(self, frames: Iterable[bytes]) -> Client:
        for frame in frames:
            assert not self.done and self.error is None, "something follows the end"
            if frame == b"[DONE]":
                self.done = True
            else:
                self._take(json.loads(frame))
        return self

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self.error = chunk["error"]
            return
        self.heads.append({name: chunk[name] for name in chunk if name not in ("choices", "usage")})
        if chunk.get("usage"):
            self.usages.append(chunk["usage"])
        for choice in chunk["choices"]:
            self._take_choice(choice)

    def _take_choice(self, choice: dict[str, Any]) -> None:
        known = self.choices.setdefault(
            choice["index"],
            {"role": None, "calls": [], "finish": None, "logprobs": {}, **dict.fromkeys(STRINGS)},
        )
        delta = choice["delta"]
        known["role"] = delta.get("role") or known["role"]
        for name in STRINGS:
            if delta.get(name) is not None:
                known[name] = (known[name] or "") + delta[name]
        for call in delta.get("tool_calls") or ():
            self._take_call(known["calls"], call)
        for name, entries in (choice.get("logprobs") or {}).items():
            known["logprobs"][name] = known["logprobs"].get(name, []) + (entries or [])
        known["finish"] = choice.get("finish_reason") or known["finish"]

    def _take_call(self, calls: list[dict[str, Any]], call: dict[str, Any]) -> None:
        if call["index"] == len(calls):
            function = call["function"]
            calls.append({"id": call["id"], "name": function["name"], "arguments": function["arguments"]})
        else:
            assert 0 <= call["index"] < len(calls), "indexes grow by one"
            assert not call.get("id") or call["id"] == calls[call["index"]]["id"]
            calls[call["index"]]["arguments"] += call["function"].get("arguments") or ""
