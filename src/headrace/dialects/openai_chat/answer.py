"""Whole answers: the log as one `chat.completion`, and an upstream's `chat.completion` as chunks.

Of the fields that are not modelled, the answer has the last value; inside a delta strings and lists are joined, also
one level deeper (`function_call`, `audio`), and a tool call keeps its own (a vendor's thought signature).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.openai_chat.decoder import NAME, ChatDecoder
from headrace.dialects.openai_chat.view import PREFIX, REASONING, text_key, usage_block
from headrace.dialects.openai_chat.wire import NULL, joined_logprobs
from headrace.errors import UpstreamProtocol
from headrace.events import Answer, AnswerChoice, AnswerItem, Chunk, Usage

_TOP_KNOWN = {"id", "object", "created", "model", "choices", "usage", "obfuscation"}
_CHOICE_KNOWN = {"index", "delta", "finish_reason", "logprobs"}
_DELTA_KNOWN = {"role", "content", "refusal", "tool_calls"}
_ONCE = {"id", "index", "name", "object", "type"}
"""Inside an object, strings that are said again rather than continued."""


class _Joined(list[str]):
    """The pieces of a string."""


class _RawChoice(msgspec.Struct):
    index: int = 0
    delta: dict[str, Raw] | None = None


_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_list_of = msgspec.json.Decoder(list[Raw]).decode
_string_of = msgspec.json.Decoder(str).decode
_calls_of = msgspec.json.Decoder(list[dict[str, Raw]] | None).decode
_choices_of = msgspec.json.Decoder(list[Raw] | None).decode
_function_of = msgspec.json.Decoder(dict[str, Raw] | None).decode
_choice_of = msgspec.json.Decoder(_RawChoice).decode


def completion(answer: Answer) -> bytes:
    """The non-streaming answer."""
    choices = {choice.index: _choice(choice) for choice in answer.choices}
    body: dict[str, Any] = {
        "id": PREFIX + answer.start.id,
        "object": "chat.completion",
        "created": answer.start.created,
        "model": answer.start.model,
        "choices": [],
        **answer.attrs,
    }
    if answer.usage is not None:
        body["usage"] = usage_block(answer.usage)
    if answer.raw_dialect == NAME:
        for raw in answer.raw:
            frame = _fields_of(raw)
            _merge_raw(frame, body, choices)
            if answer.usage is not None:
                _merge_usage(body, frame.get("usage", NULL), answer.usage)
        for choice in choices.values():
            choice["message"] = _whole(choice["message"])
    body["choices"] = [choices[index] for index in sorted(choices)]
    return msgspec.json.encode(body)


def _choice(choice: AnswerChoice) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    for item in choice.items:
        if key := text_key(item.kind, item.name):
            texts.setdefault(key, []).append(item.text)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    message.update({key: "".join(pieces) for key, pieces in texts.items()})
    calls = [_call(item) for item in choice.items if item.kind == "tool_call"]
    if calls:
        message["tool_calls"] = calls
    return {
        "index": choice.index,
        "message": message,
        "logprobs": joined_logprobs(piece for item in choice.items for piece in item.logprobs),
        "finish_reason": choice.finish,
    }


def _call(item: AnswerItem) -> dict[str, Any]:
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.text}}


def _merge_raw(frame: dict[str, Raw], body: dict[str, Any], choices: dict[int, dict[str, Any]]) -> None:
    """Fold one raw chunk's unmodelled fields into the answer. Values stay as they were written."""
    body.update({name: value for name, value in frame.items() if name not in _TOP_KNOWN})
    for part in _choices_of(frame.get("choices", NULL)) or ():
        read = _choice_of(part)
        choice = choices.get(read.index)
        if choice is None:  # it has said only what is not modelled
            choice = choices[read.index] = _choice(AnswerChoice(read.index, (), None))
        fields = _fields_of(part)
        choice.update({name: value for name, value in fields.items() if name not in _CHOICE_KNOWN})
        if read.delta:
            _merge_delta(read.delta, choice["message"])


def _merge_delta(delta: dict[str, Raw], message: dict[str, Any]) -> None:
    twice = all(name in delta and bytes(delta[name]) == bytes(delta[REASONING[0]]) for name in REASONING)
    for name, value in delta.items():
        if name == "tool_calls":
            _merge_calls(value, message)
        elif name == REASONING[1] and twice:
            _grow(message, name, value)  # the decoder kept the other of two equal ones
        elif name not in _DELTA_KNOWN and name not in REASONING:
            _grow(message, name, value)


def _merge_calls(value: Raw, message: dict[str, Any]) -> None:
    """A raw chunk has our own indexes, so they say which call a field belongs to."""
    calls: list[dict[str, Any]] = message.get("tool_calls", [])
    for fields in _calls_of(value) or ():
        index = msgspec.json.decode(fields["index"], type=int)
        if not 0 <= index < len(calls):
            continue
        call = calls[index]
        for name, field in fields.items():
            if name == "function":
                _fill(call["function"], _function_of(field) or {})
            elif name != "index":
                _fill(call, {name: field})


def _fill(known: dict[str, Any], fields: dict[str, Raw]) -> None:
    """Take what the call does not have yet: unknown fields, or an id or a name that came late."""
    for name, value in fields.items():
        if name != "arguments" and (name not in ("id", "name") or not known.get(name)):
            known[name] = value


def _grow(fields: dict[str, Any], name: str, value: Raw, *, deep: bool = True) -> None:
    """Join one delta's value to what the field has; pieces of strings wait for `_whole`, so that joining is linear."""
    known = fields.get(name)
    opening = bytes(value)[:1]
    if opening == b'"' and (deep or name not in _ONCE):
        pieces = known if isinstance(known, _Joined) else _Joined()
        pieces.append(_string_of(value))
        fields[name] = pieces
    elif opening == b"[":
        elements = _list_of(value)
        if isinstance(known, list) and not isinstance(known, _Joined):
            known.extend(elements)  # pyright: ignore[reportUnknownMemberType]
        else:
            fields[name] = elements
    elif opening == b"{" and deep:
        inner: dict[str, Any] = known if isinstance(known, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        for key, part in _fields_of(value).items():
            _grow(inner, key, part, deep=False)
        fields[name] = inner
    elif opening != b"n" or name not in fields:  # null takes nothing back
        fields[name] = value


def _whole(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with every string in one piece."""
    whole: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, _Joined):
            whole[name] = "".join(value)
        elif isinstance(value, dict):
            whole[name] = _whole(value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            whole[name] = value
    return whole


def _merge_usage(body: dict[str, Any], raw: Raw, usage: Usage) -> None:
    """Take the upstream's own block where its counts are the ones that hold, of any other what it says besides."""
    if bytes(raw) == b"null" or usage.source != "provider":
        return
    said = _fields_of(raw)
    counts = {"prompt_tokens": usage.input, "completion_tokens": usage.output}
    holds = all(bytes(said.get(name, NULL)) == b"%d" % count for name, count in counts.items())
    body["usage"] = {**body["usage"], **said} if holds else {**said, **body["usage"]}


def chunks_of(body: bytes, decoder: ChatDecoder) -> list[Chunk]:
    """An upstream's non-streaming answer as the chunks of a stream (`stream: force`).

    Raises:
        UpstreamError: the body is an error, in the shape's own form.
        UpstreamProtocol: the body is not a `chat.completion`.
    """
    try:
        value = _fields_of(body)
        choices = [_as_delta(choice) for choice in _choices_of(value.get("choices", NULL)) or ()]
    except (*NOT_JSON, KeyError) as problem:
        raise UpstreamProtocol("The model server's answer is not a chat completion.") from problem
    if not choices:
        decoder.feed(body)  # raises, if it is an error
        raise UpstreamProtocol("The model server's answer is not a chat completion: it has no choices.")
    head = {name: value[name] for name in ("id", "created", "model") if name in value}
    frames: list[dict[str, Any]] = [
        {**value, "object": "chat.completion.chunk", "choices": choices, "usage": None},
        {**head, "object": "chat.completion.chunk", "choices": [], "usage": value.get("usage")},
    ]
    chunks = [decoder.feed(msgspec.json.encode(frame)) for frame in frames]
    chunks.append(decoder.feed(b"[DONE]"))
    return [chunk for chunk in chunks if chunk is not None]


def _as_delta(choice: Raw) -> dict[str, Any]:
    fields = _fields_of(choice)
    message: dict[str, Any] = _fields_of(fields.pop("message"))
    calls = _calls_of(message.get("tool_calls", NULL))
    if calls:
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return {**fields, "delta": message}
