"""API shapes. Adding one is one module here and one row in `DIALECTS`."""

from __future__ import annotations

from headrace.dialects.anthropic_messages import AnthropicMessages
from headrace.dialects.base import Dialect
from headrace.dialects.native import Native
from headrace.dialects.openai_chat import OpenAIChat
from headrace.dialects.openai_responses import OpenAIResponses
from headrace.dialects.text import Text

ANTHROPIC_MESSAGES = AnthropicMessages()
NATIVE = Native()
OPENAI_CHAT = OpenAIChat()
OPENAI_RESPONSES = OpenAIResponses()
TEXT = Text()

_ALL: tuple[Dialect, ...] = (NATIVE, OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, TEXT)
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
BY_CODE: dict[str, Dialect] = {dialect.code: dialect for dialect in DIALECTS.values()}
PREFIXES = tuple(dialect.prefix for dialect in DIALECTS.values() if dialect.prefix)


def bare_id(public_id: str) -> str:
    """The stream id inside a public one: every public id is a prefix and the same id (P31)."""
    for prefix in PREFIXES:
        if public_id.startswith(prefix):
            return public_id[len(prefix) :]
    return public_id
