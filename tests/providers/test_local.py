"""The embedded model, real: every test here needs it and fails without it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import anyio
import pytest

from headrace.errors import (
    BadRequest,
    ConfigError,
    HeadraceError,
    RateLimited,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamUnavailable,
)
from headrace.events import (
    ArgsDelta,
    ChoiceEnd,
    Chunk,
    Event,
    ItemEnd,
    ItemStart,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)
from headrace.messages import Message, Part, Request, Settings, Tool, ToolCall
from headrace.providers.local import LocalProvider, available, find_model
from headrace.providers.local.answer import Answer, Call
from headrace.providers.local.engine import Engine
from headrace.providers.local.question import ask

pytestmark = pytest.mark.anyio

MODEL = "smollm2-135m"
WEATHER = Tool(
    "get_weather",
    "The weather now",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
    },
)
SEARCH = Tool("search", None, {"properties": {"q": {"$ref": "#/$defs/Q"}}, "$defs": {"Q": {"enum": ["rome", "oslo"]}}})
NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(slots=2, context=1024)
    await provider.start()
    yield provider
    await provider.close()


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    with anyio.fail_after(45):  # a guard against hanging, not a measure: the machine may be busy
        yield


def request(text: str = "Hello!", *, tools: tuple[Tool, ...] = (), **settings: Any) -> Request:
    messages = (Message("user", (Part("text", text),)),)
    return Request("openai.chat", MODEL, messages, tools=tools, settings=Settings(**settings))


async def batches(provider: LocalProvider, asked: Request) -> list[list[Chunk]]:
    return [batch async for batch in provider.stream(asked, MODEL)]


async def answer(provider: LocalProvider, asked: Request) -> list[Event]:
    return [event for batch in await batches(provider, asked) for chunk in batch for event in chunk.events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def arguments_of(events: list[Event]) -> list[str]:
    return [event.json for event in events if isinstance(event, ArgsDelta)]


def only[E](events: list[Event], kind: type[E]) -> E:
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


async def counters(provider: LocalProvider) -> dict[str, float]:
    lines = (await provider.metrics()).splitlines()
    pairs = (line.removeprefix("llamacpp:").split() for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def idle(provider: LocalProvider) -> dict[str, float]:
    """The counters once llama.cpp has nothing to do."""
    while (now := await counters(provider))["requests_processing"]:
        await anyio.lowlevel.checkpoint()
    return now
