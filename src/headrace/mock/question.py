"""What is asked, whatever the API shape."""

from __future__ import annotations

from typing import Any

import msgspec


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request for an answer."""

    model: str
    prompt: str
    """The text of all messages, the system's first, joined by line feeds."""
    stream: bool
    max_tokens: int | None = None
    tools: tuple[str, ...] = ()
    """Names of the functions that the model may call."""
    mock: dict[str, Any] = {}
    """What the request says to the mock itself."""
    include_usage: bool = True
    signed: bool = True
    """Whether reasoning comes with what lets the client send it back."""
    echo: dict[str, Any] = {}
    """Fields that the answer repeats."""
