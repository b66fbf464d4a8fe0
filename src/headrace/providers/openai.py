"""Model servers that speak OpenAI's chat completions, which is nearly all of them."""

from __future__ import annotations

from headrace.dialects.openai_chat import NAME, ChatDecoder, chunks_of, write_long_request, write_request
from headrace.providers.model_server import Wire


def bearer(key: str) -> tuple[str, str]:
    """The header with a key."""
    return "Authorization", f"Bearer {key}"


CHAT = Wire(
    dialect=NAME,
    path="/chat/completions",
    write=write_request,
    write_long=write_long_request,
    decoder=ChatDecoder,
    chunks_of=chunks_of,
    marker="[DONE]",
    credential=bearer,
)
