"""How an answer is made, for all requests or for one."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from headrace.config.quantities import parse_seconds
from headrace.mock.pacing import Gap, parse_gap

_Count = Annotated[int, Meta(ge=0, le=10_000_000)]
_Some = Annotated[int, Meta(ge=1, le=10_000)]


class Settings(msgspec.Struct, frozen=True):
    """What every answer is like unless its request says otherwise."""

    tokens: int = 50
    """Words of text."""
    ttft: float = 0.0
    """Seconds from the headers to the first frame."""
    gap: Gap = Gap()
    seed: int = 0
    tool_calls: int = 0
    reasoning: int = 0
    """Words of reasoning before the text."""
    chunk_words: int = 1
    """Words in one frame."""
    stamp: bool = False
    """Whether a stream says its tokens' numbers and times in place of words."""
    usage: bool | None = None
    """Whether usage is sent; None: where it is asked for, as OpenAI does."""
    models: tuple[str, ...] = ("mock",)
    """What `GET /v1/models` lists; every name is answered."""


class Overrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What a rule or a request may set for itself; durations are seconds or text such as `20ms`."""

    tokens: _Count | None = None
    ttft: float | str | None = None
    gap: float | str | None = None
    tool_calls: _Count | None = None
    reasoning: _Count | None = None
    chunk_words: _Some | None = None
    stamp: bool | None = None

    def apply(self, settings: Settings) -> Settings:
        """The settings with these in their place.

        Raises:
            ValueError: a duration cannot be read.
        """
        plain = {
            name: value
            for name in ("tokens", "tool_calls", "reasoning", "chunk_words", "stamp")
            if (value := getattr(self, name)) is not None
        }
        ttft = settings.ttft if self.ttft is None else parse_seconds(str(self.ttft))
        gap = settings.gap if self.gap is None else parse_gap(str(self.gap))
        return msgspec.structs.replace(settings, ttft=ttft, gap=gap, **plain)
