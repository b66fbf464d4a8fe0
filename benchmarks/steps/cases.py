"""What passes through the server: a request for curl each."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

MODEL: Final = "steps"
TRICKLE: Final = "trickle"
CHAT: Final = "/v1/chat/completions"
STREAMS: Final = "/v1/streams"
MESSAGES: Final = "/v1/messages"
RESPONSES: Final = "/v1/responses"
OTHERS: Final = {"chat": MODEL, "messages": "steps-messages", "responses": "steps-responses"}
"""A model for each protocol."""


class Case(msgspec.Struct, frozen=True):
    """One request; `target` may have `{id}`, a stream of many tokens that has ended."""

    name: str
    target: str
    body: bytes | None = None
    headers: tuple[str, ...] = ()


def _chat(content: Any, **fields: Any) -> bytes:
    return _request([{"role": "user", "content": content}], **fields)


def _request(messages: list[Any], **fields: Any) -> bytes:
    body = {"model": MODEL, "max_tokens": 5, **fields, "messages": messages}
    return json.dumps(body, ensure_ascii=False).encode()


def _native(messages: list[Any]) -> bytes:
    return json.dumps({"model": MODEL, "settings": {"max_tokens": 5}, "messages": messages}).encode()


def _image(size: int) -> list[dict[str, Any]]:
    data = base64.b64encode(random.Random(0).randbytes(size * 3 // 4)).decode()
    url = {"url": "data:image/png;base64," + data}
    return [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]


def _messages(content: Any, size: int = 0, model: str = OTHERS["messages"]) -> bytes:
    turns = [{"role": "user", "content": content}] * max(size, 1)
    return json.dumps({"model": model, "max_tokens": 5, "messages": turns}).encode()


def _responses(content: Any, size: int = 0, model: str = OTHERS["responses"], **fields: Any) -> bytes:
    items = [{"role": "user", "content": content}] * max(size, 1)
    return json.dumps({"model": model, "max_output_tokens": 16, "input": items, **fields}).encode()


def _in_other_shapes(size: int) -> list[Case]:
    """An image and small messages in each shape, to a server of the same shape and of the others."""
    url = _image(size)[1]["image_url"]["url"]
    source = {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}
    block, item = {"type": "image", "source": source}, {"type": "input_image", "image_url": url, "detail": "auto"}
    found: list[Case] = []
    for protocol, model in OTHERS.items():
        found += [
            Case(f"messages to {protocol}, image", MESSAGES, _messages([block], model=model)),
            Case(f"messages to {protocol}, small messages", MESSAGES, _messages("hello there", size // 44, model)),
            Case(f"responses to {protocol}, image", RESPONSES, _responses([item], model=model)),
            Case(f"responses to {protocol}, small items", RESPONSES, _responses("hello there", size // 44, model)),
        ]
    image = _image(size)
    found += [
        Case("chat to messages, image", CHAT, _chat(image, model=OTHERS["messages"])),
        Case(
            "chat to responses, image", CHAT, _request([{"role": "user", "content": image}], model=OTHERS["responses"])
        ),
    ]
    return found


def _small(size: int) -> bytes:
    return _request([{"role": "user", "content": "hello there"}] * (size // 44))


BODIES: Final[Mapping[str, Callable[[int], bytes]]] = {
    "image": lambda size: _chat(_image(size)),
    "text": lambda size: _chat("lorem ipsum dolor " * (size // 18)),
    "Cyrillic": lambda size: _chat("привет мир " * (size // 20)),
    "escapes": lambda size: _chat("\n" * (size // 2)),
    "JSON in JSON": lambda size: _chat('{"name": "value", "path": "C:\\\\"}\n' * (size // 45)),
    "small messages": _small,
    "messages of 2 kB": lambda size: _request([{"role": "user", "content": "lorem ipsum " * 170}] * (size // 2075)),
    "small parts": lambda size: _chat([{"type": "text", "text": "x"}] * (size // 31)),
    "numbers": lambda size: _chat("Hi", logit_bias=[1] * (size // 3)),
}
"""Kinds of request bodies, by about how many bytes they are to have."""


def cases(size: int, tokens: int) -> list[Case]:
    """All cases."""
    found = [Case(f"POST, {name}", CHAT, make(size)) for name, make in BODIES.items()]
    image, small = (_image(size), [{"role": "user", "content": "hello there"}] * (size // 44))
    found += [
        Case("POST, image, idempotency key", CHAT, _chat(image), ("Idempotency-Key: {key}",)),
        Case("POST, small messages, idempotency key", CHAT, _small(size), ("Idempotency-Key: {key}",)),
        Case("native POST, image", STREAMS, _native([{"role": "user", "content": image}])),
        Case("native POST, small messages", STREAMS, _native(small)),
        *_in_other_shapes(size),
        Case("answer in one body", CHAT, _chat("Tell me.", max_tokens=tokens)),
        Case("answer in one body, logprobs", CHAT, _chat("Tell me.", max_tokens=tokens, logprobs=True)),
        Case("resume from the start", STREAMS + "/{id}/events?format=openai.chat"),
        Case("resume from the middle", STREAMS + f"/{{id}}/events?format=openai.chat&skip={tokens // 2}"),
        Case("resume near the end, text", STREAMS + "/{id}/events?format=text&skip=500000"),
        Case("the whole stream as JSON", STREAMS + "/{id}"),
        Case("the whole stream exported", STREAMS + "/{id}/export"),
        Case("the answer again", CHAT + "/{id}"),
        Case("list of 100", STREAMS + "?limit=100"),
    ]
    return found
