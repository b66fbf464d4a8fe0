"""Asking the embedded model, and reading what its events say."""

from typing import Any, TypeVar

import anyio

from headrace.events import ArgsDelta, Chunk, Event, TextDelta
from headrace.messages import Message, Part, Request, Settings, Tool
from headrace.providers.local import LocalProvider

E = TypeVar("E")
GUARD = 40
"""Seconds; against hanging, not a measure: the machine may be busy."""
MODEL = "smollm2-135m"


def request(text: str = "Hello!", *, tools: tuple[Tool, ...] = (), **settings: Any) -> Request:
    messages = (Message("user", (Part("text", text),)),)
    return Request("openai.chat", MODEL, messages, tools=tools, settings=Settings(**settings))


async def batches(provider: LocalProvider, asked: Request) -> list[list[Chunk]]:
    with anyio.fail_after(GUARD):
        return [batch async for batch in provider.stream(asked, MODEL)]


async def answer(provider: LocalProvider, asked: Request) -> list[Event]:
    return [event for batch in await batches(provider, asked) for chunk in batch for event in chunk.events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def arguments_of(events: list[Event]) -> list[str]:
    return [event.json for event in events if isinstance(event, ArgsDelta)]


def only(events: list[Event], kind: type[E]) -> E:
    (found,) = [event for event in events if isinstance(event, kind)]
    return found
