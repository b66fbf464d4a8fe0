"""The API shapes that can be measured: how each is asked, and what its stream says."""

from __future__ import annotations

from typing import Final

from headrace.bench.shapes.anthropic_messages import AnthropicMessages
from headrace.bench.shapes.base import Shape
from headrace.bench.shapes.native import Native
from headrace.bench.shapes.openai_chat import OpenAIChat
from headrace.bench.shapes.openai_responses import OpenAIResponses

SHAPES: Final[dict[str, Shape]] = {
    shape.name: shape for shape in (OpenAIChat(), OpenAIResponses(), AnthropicMessages(), Native())
}
"""By name. The shape `sse` is not here: it is made of what its user says about a server, see `sse`."""
