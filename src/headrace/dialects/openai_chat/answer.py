"""Whole answers: the log as one `chat.completion`, and an upstream's `chat.completion` as chunks."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.dialects.openai_chat.decoder import NAME, ChatDecoder
from headrace.dialects.openai_chat.view import PREFIX, usage_block
from headrace.errors import UpstreamProtocol
from headrace.events import Answer, AnswerChoice, AnswerItem, Chunk

_TOP_KNOWN = {"id", "object", "created", "model", "choices", "usage", "obfuscation"}
_CHOICE_KNOWN = {"index", "delta", "finish_reason", "logprobs"}
_DELTA_KNOWN = {"role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls"}


def completion(answer: Answer) -> bytes:
    """The non-streaming answer. Fields that are not modelled: the last value; strings inside a delta are joined."""
    choices = {choice.index: _choice(choice) for choice in answer.choices}
    body: dict[str, Any] = {
        "id": PREFIX + answer.start.id,
        "object": "chat.completion",
        "created": answer.start.created,
        "model": answer.start.model,
        "choices": list(choices.values()),
        **answer.attrs,
    }
    if answer.usage is not None:
        body["usage"] = usage_block(answer.usage)
    if answer.raw_dialect == NAME:
        for raw in answer.raw:
            _merge_raw(msgspec.json.decode(raw), body, choices)
    return msgspec.json.encode(body)


def _choice(choice: AnswerChoice) -> dict[str, Any]:
    texts: dict[str, str] = {}
    calls: list[dict[str, Any]] = []
    logprobs: dict[str, list[Any]] = {}
    for item in choice.items:
        if item.kind == "tool_call":
            calls.append(_call(item))
        elif key := _text_key(item):
            texts[key] = texts.get(key, "") + item.text
        for piece in item.logprobs:
            for name, entries in msgspec.json.decode(piece).items():
                if isinstance(entries, list):
                    logprobs.setdefault(name, []).extend(entries)  # pyright: ignore[reportUnknownArgumentType]
    message: dict[str, Any] = {"role": "assistant", "content": texts.pop("content", None), "refusal": None, **texts}
    if calls:
        message["tool_calls"] = calls
    return {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs or None,
        "finish_reason": choice.finish,
    }


def _text_key(item: AnswerItem) -> str | None:
    if item.kind == "reasoning":
        return item.name or "reasoning_content"
    return {"text": "content", "refusal": "refusal"}.get(item.kind)


def _call(item: AnswerItem) -> dict[str, Any]:
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.text}}


def _merge_raw(frame: dict[str, Any], body: dict[str, Any], choices: dict[int, dict[str, Any]]) -> None:
    """Fold one raw chunk's unmodelled fields into the answer."""
    body.update({name: value for name, value in frame.items() if name not in _TOP_KNOWN})
    if isinstance(frame.get("usage"), dict):
        body["usage"] = _merge_usage(body.get("usage"), frame["usage"])
    for part in frame.get("choices") or ():
        choice = choices.get(part.get("index", 0))
        if choice is None:
            continue
        choice.update({name: value for name, value in part.items() if name not in _CHOICE_KNOWN})
        message = choice["message"]
        for name, value in (part.get("delta") or {}).items():
            if name in _DELTA_KNOWN:
                continue
            earlier = message.get(name)
            joined = isinstance(earlier, str) and isinstance(value, str)
            if joined:
                message[name] = earlier + value
            elif isinstance(earlier, list) and isinstance(value, list):
                message[name] = [*earlier, *value]  # pyright: ignore[reportUnknownVariableType]
            elif value is not None or name not in message:
                message[name] = value


def _merge_usage(known: dict[str, Any] | None, raw: dict[str, Any]) -> dict[str, Any]:
    """The upstream's own block where its counts are the ones that hold."""
    if known is None or known.get("source"):
        return known or raw
    return raw | {name: known[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def chunks_of(body: bytes, decoder: ChatDecoder) -> list[Chunk]:
    """An upstream's non-streaming answer as the chunks of a stream (`stream: force`).

    Raises:
        UpstreamProtocol: the body is not a `chat.completion`.
    """
    try:
        value = msgspec.json.decode(body)
        choices = [_as_delta(choice) for choice in value.get("choices", [])]
    except (msgspec.DecodeError, AttributeError, TypeError, KeyError) as problem:
        raise UpstreamProtocol("The model server's answer is not a chat completion.") from problem
    frames = [
        value | {"object": "chat.completion.chunk", "choices": choices, "usage": None},
        {"choices": [], "usage": value.get("usage")},
    ]
    frames[1] |= {name: value[name] for name in ("id", "created", "model") if name in value}
    chunks = [decoder.feed(msgspec.json.encode(frame)) for frame in frames]
    chunks.append(decoder.feed(b"[DONE]"))
    return [chunk for chunk in chunks if chunk is not None]


def _as_delta(choice: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = dict(choice["message"])
    calls: list[dict[str, Any]] | None = message.get("tool_calls")
    if calls:
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "delta": {name: value for name, value in message.items() if value is not None}}
