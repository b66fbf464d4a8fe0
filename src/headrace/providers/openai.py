"""Model servers that speak one of OpenAI's two APIs: chat completions, as nearly all of them, or Responses."""

from __future__ import annotations

from headrace.dialects import openai_chat, openai_responses
from headrace.providers.model_server import Wire


def bearer(key: str) -> tuple[str, str]:
    """The header with a key."""
    return "Authorization", f"Bearer {key}"


CHAT = Wire(
    dialect=openai_chat.NAME,
    path="/chat/completions",
    write=openai_chat.write_request,
    write_long=openai_chat.write_long_request,
    decoder=openai_chat.ChatDecoder,
    chunks_of=openai_chat.chunks_of,
    marker="[DONE]",
    credential=bearer,
)
RESPONSES = Wire(
    dialect=openai_responses.NAME,
    path="/responses",
    write=openai_responses.write_request,
    write_long=openai_responses.write_long_request,
    decoder=openai_responses.ResponsesDecoder,
    chunks_of=openai_responses.chunks_of,
    marker="response.completed",
    credential=bearer,
    goes_on=False,
)
