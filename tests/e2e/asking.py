"""Questions, and answers as the official client has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import openai
from openai import BaseModel
from openai.types.chat import ChatCompletionChunk, ChatCompletionToolParam

MODEL = "smollm2-135m"
STORY: list[Any] = [{"role": "user", "content": "Tell me a long story about a river."}]

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def question(max_tokens: int = 16, **fields: Any) -> dict[str, Any]:
    """Arguments of `create`."""
    return {"model": MODEL, "messages": STORY, "max_tokens": max_tokens, **fields}


def text_of(chunks: Iterable[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def finishes(chunks: Iterable[ChatCompletionChunk]) -> list[str]:
    """Every finish reason."""
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


def read_again(
    client: openai.OpenAI, stream_id: str, *, skip: int = 0, last_event_id: str | None = None
) -> openai.Stream[ChatCompletionChunk]:
    """A stream from a position on, read by the official client, which has no word of its own for that."""
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    return client.get(
        f"/chat/completions/{stream_id}",
        cast_to=ChatCompletionChunk,
        stream=True,
        stream_cls=openai.Stream[ChatCompletionChunk],
        options={"headers": headers, "params": {"skip": skip}},
    )


def plain(chunks: Iterable[BaseModel]) -> list[dict[str, Any]]:
    """Chunks or events as the JSON that they were."""
    return [chunk.to_dict(mode="json") for chunk in chunks]
