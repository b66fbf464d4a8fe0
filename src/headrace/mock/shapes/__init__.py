"""The API shapes that the mock speaks, a module each, Responses two; none of them uses what Headrace itself writes."""

from __future__ import annotations

from typing import Final

from headrace.mock.shapes.base import Shape
from headrace.mock.shapes.chat import Chat
from headrace.mock.shapes.messages import Messages
from headrace.mock.shapes.responses import Responses

CHAT: Final = Chat()
MESSAGES: Final = Messages()
RESPONSES: Final = Responses()

SHAPES: Final[tuple[Shape, ...]] = (MESSAGES, RESPONSES, CHAT)
"""In the order in which a recording is looked at: chat is what nobody else recognises."""

BY_PATH: Final = {shape.path: shape for shape in SHAPES}

__all__ = ["BY_PATH", "CHAT", "MESSAGES", "RESPONSES", "SHAPES", "Shape"]
