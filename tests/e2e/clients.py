"""The official Python clients of three API shapes, and what each sees of an answer, in words that can be compared.

The synchronous client waits for the whole answer, the asynchronous one streams it by its own helper: so both are used.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import anthropic
import openai
from anyio.from_thread import start_blocking_portal

PICTURE = base64.b64encode(bytes(range(256))).decode()
TOOLS = ("weather", "tides", "bridges")
ERRORS = (openai.APIError, anthropic.APIError, openai.APIConnectionError, anthropic.APIConnectionError)


T = TypeVar("T")


def in_a_loop(run: Callable[[], Awaitable[T]]) -> T:
    """Run in an event loop of another thread: a fixture of other tests may hold one of this thread."""
    with start_blocking_portal() as portal:
        return portal.call(run)


class Seen(NamedTuple):
    """What a client got."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, str], ...]
    """Name and arguments of each, in order; arguments with sorted keys, since clients parse them."""
    stop: str
    """In OpenAI's words: `stop`, `length`, `tool_calls`."""
    usage: tuple[int, int]
    """Tokens read and written."""


class Ask(NamedTuple):
    """One question."""

    url: str
    """Of Headrace."""
    model: str
    prompt: str
    max_tokens: int = 4096
    tools: tuple[str, ...] = ()
    picture: str = ""


Client = Callable[[Ask], Seen]


def _schema(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Asks for {name}.", "parameters": {"type": "object", "properties": {}}}


def _calls(pairs: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    values = ((name, json.loads(given) if isinstance(given, str) else given) for name, given in pairs)
    return tuple((name, json.dumps(value, sort_keys=True)) for name, value in values)


def _chat_request(ask: Ask) -> dict[str, Any]:
    content: Any = ask.prompt
    if ask.picture:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ask.picture}"}}
        content = [{"type": "text", "text": ask.prompt}, image]
    tools = [{"type": "function", "function": _schema(name)} for name in ask.tools]
    request = {"model": ask.model, "messages": [{"role": "user", "content": content}], "max_tokens": ask.max_tokens}
    return request | ({"tools": tools} if tools else {})


def _chat_seen(answer: Any) -> Seen:
    choice = answer.choices[0]
    message = choice.message
    calls = _calls((call.function.name, call.function.arguments) for call in message.tool_calls or ())
    usage = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    reasoning = getattr(message, "reasoning_content", None) or ""
    return Seen(message.content or "", reasoning, calls, choice.finish_reason, usage)


def chat_whole(ask: Ask) -> Seen:
    """Chat completions, in one piece."""
    with openai.OpenAI(base_url=f"{ask.url}/v1", api_key="none", max_retries=0) as client:
        return _chat_seen(client.chat.completions.create(**_chat_request(ask)))


def chat_streamed(ask: Ask) -> Seen:
    """Chat completions, streamed."""

    async def run() -> Seen:
        reasoning: list[str] = []
        async with (
            openai.AsyncOpenAI(base_url=f"{ask.url}/v1", api_key="none", max_retries=0) as client,
            client.chat.completions.stream(**_chat_request(ask), stream_options={"include_usage": True}) as stream,
        ):
            async for event in stream:
                if event.type == "chunk":
                    deltas = (choice.delta for choice in event.chunk.choices)
                    reasoning += [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
            try:
                answer = await stream.get_final_completion()
            except openai.LengthFinishReasonError as cut:  # what this helper makes of it
                answer = cut.completion
            return _chat_seen(answer)._replace(reasoning="".join(reasoning))

    return in_a_loop(run)


def _responses_request(ask: Ask) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "input_text", "text": ask.prompt}]
    if ask.picture:
        url = f"data:image/png;base64,{ask.picture}"
        content.append({"type": "input_image", "image_url": url, "detail": "auto"})
    tools = [{"type": "function", "strict": False, **_schema(name)} for name in ask.tools]
    request = {"model": ask.model, "input": [{"role": "user", "content": content}], "max_output_tokens": ask.max_tokens}
    return request | ({"tools": tools} if tools else {})


def _responses_seen(answer: Any) -> Seen:
    reasoning = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
    calls = _calls((item.name, item.arguments) for item in answer.output if item.type == "function_call")
    stop = "length" if answer.status == "incomplete" else "tool_calls" if calls else "stop"
    assert answer.status in ("completed", "incomplete")
    usage = (answer.usage.input_tokens, answer.usage.output_tokens)
    return Seen(answer.output_text, "".join(reasoning), calls, stop, usage)


def responses_whole(ask: Ask) -> Seen:
    """Responses, in one piece."""
    with openai.OpenAI(base_url=f"{ask.url}/v1", api_key="none", max_retries=0) as client:
        return _responses_seen(client.responses.create(**_responses_request(ask)))


def responses_streamed(ask: Ask) -> Seen:
    """Responses, streamed."""

    async def run() -> Seen:
        numbers: list[int] = []
        last: Any = None
        async with (
            openai.AsyncOpenAI(base_url=f"{ask.url}/v1", api_key="none", max_retries=0) as client,
            client.responses.stream(**_responses_request(ask)) as stream,
        ):
            async for event in stream:
                numbers.append(event.sequence_number)
                last = event
        assert numbers == list(range(len(numbers))), "sequence numbers have gaps"
        return _responses_seen(last.response)

    return in_a_loop(run)


def _messages_request(ask: Ask) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": ask.prompt}]
    if ask.picture:
        source = {"type": "base64", "media_type": "image/png", "data": ask.picture}
        content.append({"type": "image", "source": source})
    tools = [
        {"name": name, "description": _schema(name)["description"], "input_schema": _schema(name)["parameters"]}
        for name in ask.tools
    ]
    request = {"model": ask.model, "messages": [{"role": "user", "content": content}], "max_tokens": ask.max_tokens}
    return request | ({"tools": tools} if tools else {})


def _messages_seen(answer: Any) -> Seen:
    blocks = answer.content
    stop = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}[answer.stop_reason]
    usage = answer.usage
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Seen(
        "".join(block.text for block in blocks if block.type == "text"),
        "".join(block.thinking for block in blocks if block.type == "thinking"),
        _calls((block.name, block.input) for block in blocks if block.type == "tool_use"),
        stop,
        (read, usage.output_tokens),
    )


def messages_whole(ask: Ask) -> Seen:
    """Messages, in one piece."""
    with anthropic.Anthropic(base_url=ask.url, api_key="none", max_retries=0) as client:
        return _messages_seen(client.messages.create(**_messages_request(ask)))


def messages_streamed(ask: Ask) -> Seen:
    """Messages, streamed."""

    async def run() -> Seen:
        async with (
            anthropic.AsyncAnthropic(base_url=ask.url, api_key="none", max_retries=0) as client,
            client.messages.stream(**_messages_request(ask)) as stream,
        ):
            answer = await stream.get_final_message()
            assert answer.stop_reason is not None, "a cut stream looks like a whole one"
            return _messages_seen(answer)

    return in_a_loop(run)


CLIENTS: dict[str, Client] = {
    "chat, whole": chat_whole,
    "chat, streamed": chat_streamed,
    "responses, whole": responses_whole,
    "responses, streamed": responses_streamed,
    "messages, whole": messages_whole,
    "messages, streamed": messages_streamed,
}
