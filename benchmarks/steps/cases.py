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


class Case(msgspec.Struct, frozen=True):
    """One request; `target` may have `{id}`, a stream of many tokens that has ended."""

    name: str
    target: str
    body: bytes | None = None
    headers: tuple[str, ...] = ()


def _chat(content: Any, **fields: Any) -> bytes:
    return _request([{"role": "user", "content": content}], **fields)


def _request(messages: list[Any], **fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "max_tokens": 5, **fields, "messages": messages}, ensure_ascii=False).encode()


def _native(messages: list[Any]) -> bytes:
    return json.dumps({"model": MODEL, "settings": {"max_tokens": 5}, "messages": messages}).encode()


def _image(size: int) -> list[dict[str, Any]]:
    data = base64.b64encode(random.Random(0).randbytes(size * 3 // 4)).decode()
    url = {"url": "data:image/png;base64," + data}
    return [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]


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
        Case("answer in one body", CHAT, _chat("Tell me.", max_tokens=tokens)),
        Case("answer in one body, logprobs", CHAT, _chat("Tell me.", max_tokens=tokens, logprobs=True)),
        Case("resume from the start", STREAMS + "/{id}/events?format=openai.chat"),
        Case("resume from the middle", STREAMS + f"/{{id}}/events?format=openai.chat&skip={tokens // 2}"),
        Case("resume near the end, text", STREAMS + "/{id}/events?format=text&skip=500000"),
        Case("the whole stream as JSON", STREAMS + "/{id}"),
        Case("the answer again", CHAT + "/{id}"),
        Case("list of 100", STREAMS + "?limit=100"),
    ]
    return found
