"""Whole answers: the log as one response object, its output as the input of a later turn, and what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON
from headrace.dialects.openai_responses import response
from headrace.dialects.openai_responses.decoder import ResponsesDecoder
from headrace.dialects.openai_responses.errors import in_band_error
from headrace.dialects.openai_responses.output import (
    ARGUMENTS,
    REFUSAL,
    SUMMARY,
    TEXT,
    THOUGHT,
    WORDS,
    Fields,
    Named,
    OutputItem,
    Words,
    begun_item,
    token_logprobs,
)
from headrace.dialects.openai_responses.wire import ENDS, NAME, RawFrame, read_frame
from headrace.errors import UpstreamProtocol
from headrace.events import Answer, AnswerItem, Chunk, Finished

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_items_of = msgspec.json.Decoder(list[Raw]).decode
_objects_of = msgspec.json.Decoder(list[dict[str, Any]]).decode
_text_of = msgspec.json.Decoder(str).decode
_NO_ID = {"message", "function_call", "reasoning", "custom_tool_call"}
"""Items that say everything without the id that a model server gave them; of others it is all that they say."""


def response_object(answer: Answer) -> Fields:
    """The answer in any state: queued, in progress, completed, incomplete, failed or cancelled."""
    frames = [read_frame(raw) for raw in answer.raw] if answer.raw_dialect == NAME else []
    for raw, frame in zip(reversed(answer.raw), reversed(frames), strict=False):
        if frame.type in ENDS and frame.response is not None and isinstance(answer.terminal, Finished):
            return response.ours(answer.start, _fields_of(raw)["response"])
    fields = response.ended(response.outline(answer.start), answer.terminal)
    if answer.terminal is None and not (answer.choices or answer.raw_dialect):
        fields["status"] = "queued"
    fields["output"] = _output(answer, frames)
    fields["usage"] = response.usage_block(answer.usage)
    return fields


def _output(answer: Answer, frames: list[RawFrame]) -> list[Fields]:
    """The model server's own items as far as they are done, then what else it has said."""
    done = [frame.item for frame in frames if frame.type == "response.output_item.done" and frame.item is not None]
    items = answer.choices[0].items if answer.choices else ()
    # Items of the log are in the order in which they began, so those of items that are done come first.
    rest = [item for item in items[sum(map(_parts_of, done)) :] if item.kind in WORDS]
    made = [_item(answer.start.id, len(done) + number, item, "completed") for number, item in enumerate(rest[:-1])]
    made += [_item(answer.start.id, len(done) + len(made), item, _status(answer)) for item in rest[-1:]]
    return done + made


def _parts_of(item: Fields) -> int:
    """How many items of the log an output item was."""
    match item.get("type"):
        case "message":
            content = item.get("content")
            return len(cast("list[Any]", content)) if isinstance(content, list) else 0
        case "reasoning":
            return int(any(item.get(name) for name in ("summary", "content", "encrypted_content")))
        case _:
            return 1


def _status(answer: Answer) -> str:
    if answer.terminal is None:
        return "in_progress"
    return "completed" if isinstance(answer.terminal, Finished) and answer.terminal.reason != "length" else "incomplete"


def _item(stream_id: str, index: int, said: AnswerItem, status: str) -> Fields:
    item = OutputItem(index, begun_item(said.kind, stream_id, index, said.name, said.call_id))
    part = item.part(WORDS[said.kind])
    part.pieces.append(said.text)
    part.begun = bool(said.text) or said.kind != "reasoning"
    part.logprobs = [token for logprobs in said.logprobs for token in token_logprobs(logprobs)]
    item.signature = said.signature
    return item.value(status)


def chunks_of(body: bytes, decoder: ResponsesDecoder) -> list[Chunk]:
    """An upstream's non-streaming answer as the chunks of a stream (`stream: force`).

    Raises:
        UpstreamError: the body is an error, in the shape's own form, or an answer that failed.
        UpstreamProtocol: the body is not a response object.
    """
    try:
        value = _fields_of(body)
        items = [frame for index, raw in enumerate(_items_of(value["output"])) for frame in _frames_of(index, raw)]
        status = _text_of(value["status"])
    except (*NOT_JSON, KeyError) as problem:
        raise in_band_error(body) or UpstreamProtocol("The model server's answer is no response object.") from problem
    begun = {**value, "status": "in_progress", "output": list[Any](), "usage": None, "incomplete_details": None}
    frames: list[Named] = [
        ("response.created", {"response": begun}),
        *items,
        ("response." + status, {"response": value}),
    ]
    chunks = [decoder.feed(msgspec.json.encode({"type": kind} | fields)) for kind, fields in frames]
    if not decoder.closed:
        raise UpstreamProtocol(f"The model server's answer is not whole: it is {status}.")
    return [chunk for chunk in chunks if chunk is not None]


def _frames_of(index: int, raw: Raw) -> Iterator[Named]:
    """One item as the frames that a stream has of it."""
    said = _decode(raw)
    emptied = {name: type(said[name])() for name in ("content", "summary", "arguments") if said.get(name)}
    item = OutputItem(index, said | emptied | {"status": "in_progress"})
    yield from item.begin()
    for words, number, value in _parts_in(said):
        part = item.part(words, number)
        yield from part.begin()
        text = value.get(words.field)
        if isinstance(text, str) and text:
            part.pieces.append(text)
            yield (words.delta + ".delta", {**part.place, "delta": text})
        for kind, fields in part.end():
            yield kind, fields if "part" not in fields else fields | {"part": value}
    yield "response.output_item.done", {"output_index": index, "item": raw}


def _parts_in(item: Fields) -> Iterator[tuple[Words, int, Fields]]:
    if item.get("type") == "function_call":
        yield ARGUMENTS, 0, item
    for words in (THOUGHT, SUMMARY, TEXT, REFUSAL):
        values = item.get(words.group)
        for number, value in enumerate(cast("list[Any]", values) if isinstance(values, list) else ()):
            if isinstance(value, dict) and cast("Fields", value).get("type") == words.type:
                yield words, number, cast("Fields", value)


def output_items(answer: Answer) -> list[Fields]:
    """The output as items of a later request's input.

    Without ids that only the model server of this answer knows. Reasoning is there where the model can read it again.
    """
    items = _objects_of(msgspec.json.encode(response_object(answer)["output"]))
    return [_again(item) for item in items if _says_something(item)]


def _says_something(item: Fields) -> bool:
    match item.get("type"):
        case "reasoning":
            return bool(item.get("encrypted_content"))
        case "message":
            return bool(item.get("content"))
        case _:
            return True


def _again(item: Fields) -> Fields:
    dropped = {"status", "id"} if item.get("type") in _NO_ID else {"status"}
    again = {name: value for name, value in item.items() if name not in dropped}
    if item.get("type") == "message":
        again["content"] = [
            {name: value for name, value in part.items() if name != "logprobs"} for part in item["content"]
        ]
    return again
