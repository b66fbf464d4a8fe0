"""Messages requests, written for an upstream."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw

from headrace.bodies import LARGEST_STEP, LongBody
from headrace.codecs import NOT_JSON
from headrace.dialects import long
from headrace.dialects.anthropic_messages.wire import NAME, NO_INPUT
from headrace.dialects.base import unsupported
from headrace.dialects.media import inline
from headrace.errors import BadRequest
from headrace.messages import Media, Message, Part, Request, Settings, Tool, ToolCall

DEFAULT_MAX_TOKENS = 4096
"""Of an answer whose caller gave no limit: Anthropic needs one, and every model of theirs can write so much."""
_COUNTED = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "speed",
)
"""What `POST /v1/messages/count_tokens` takes."""
_HOISTED = ("system", "developer")
_LONGEST_TURN = 500
"""Blocks: a turn is written in one go."""
_CHOICES = {"none": "none", "auto": "auto", "required": "any"}
# Settings that Anthropic has no words for, with the values that ask for nothing.
_UNKNOWN = {"seed": (), "n": (1,), "presence_penalty": (0,), "frequency_penalty": (0,)}

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode


def write(request: Request, model: str, *, stream: bool) -> bytes:
    """The body for an upstream of this shape; one of the same shape goes on with only `model` and `stream` replaced."""
    if isinstance(request.body, LongBody):
        return b"".join(write_long(request, request.body, model, stream=stream))
    return _encode(_all(request) | {"model": model, "stream": stream})


def write_long(request: Request, body: LongBody, model: str, *, stream: bool) -> Iterator[bytes]:
    """The same of a long request, in pieces that are made one at a time."""
    fields = yield from _all_long(request, body)
    yield from long.written(body, fields | {"model": model, "stream": stream})


def write_count(request: Request, model: str, *, stream: bool = False) -> bytes:  # noqa: ARG001 - as `Write`
    """The body that asks how many tokens a request has: only what that endpoint takes, which never streams."""
    if isinstance(request.body, LongBody):
        return b"".join(write_long_count(request, request.body, model))
    return _encode(_counted(_all(request)) | {"model": model})


def write_long_count(
    request: Request,
    body: LongBody,
    model: str,
    *,
    stream: bool = False,  # noqa: ARG001 - as `WriteLong`
) -> Iterator[bytes]:
    """The same of a long request."""
    fields = yield from _all_long(request, body)
    yield from long.written(body, _counted(fields) | {"model": model})


def _counted(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in _COUNTED}


def _all(request: Request) -> dict[str, Any]:
    if request.dialect == NAME:
        return {**_fields_of(cast("bytes", request.body))}
    messages = list(enumerate(request.messages))
    return _fields(request, _system(messages), list(_turns(messages, b"")))


def _all_long(request: Request, body: LongBody) -> Generator[bytes, None, dict[str, Any]]:
    """The fields; what they are made of is looked at in steps, each of which gives nothing."""
    if request.dialect == NAME:
        fields: dict[str, Any] = {**_fields_of(body.head)}
        return fields | {name: cut.whole() for name, cut in body.cuts.items() if name in fields}
    system: list[dict[str, Any]] = []
    first = 0
    for batch in long.batches_of(request.messages):
        system += _system(enumerate(batch, first))
        first += len(batch)
        yield b""
    messages = enumerate(message for batch in long.batches_of(request.messages) for message in batch)
    return _fields(request, system, long.lists_of([turn] for turn in _turns(messages, body)))


def _fields(request: Request, system: list[dict[str, Any]], turns: object) -> dict[str, Any]:
    """A request of another shape in this one's words."""
    settings = request.settings
    fields: dict[str, Any] = {"max_tokens": settings.max_tokens or DEFAULT_MAX_TOKENS, "messages": turns}
    if system:
        fields["system"] = system[0]["text"] if len(system) == 1 else system
    if request.tools:
        fields["tools"] = [_tool(index, tool) for index, tool in enumerate(request.tools)]
        fields |= _tool_choice(settings)
    fields |= _sampling(settings)
    return fields | _output(settings)


def _sampling(settings: Settings) -> dict[str, Any]:
    for name, nothing in _UNKNOWN.items():
        value = getattr(settings, name)
        if value is not None and value not in nothing:
            raise unsupported(name, "Anthropic's Messages have no such setting.")
    if settings.temperature is not None and settings.temperature > 1:
        raise unsupported("temperature", "Anthropic's Messages take 0 to 1.")
    named = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
    fields: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if settings.stop:
        fields["stop_sequences"] = settings.stop
    return fields


def _output(settings: Settings) -> dict[str, Any]:
    """How much to think, and what form the answer has."""
    fields: dict[str, Any] = {}
    output: dict[str, Any] = {}
    effort = settings.reasoning_effort
    if effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif effort is not None:
        output["effort"] = "low" if effort == "minimal" else effort
    form = settings.response_format
    if form is not None and form.get("type") != "text":
        output["format"] = _format(form)
    return fields | ({"output_config": output} if output else {})


def _format(form: dict[str, Any]) -> dict[str, Any]:
    described: Any = form.get("json_schema")
    schema: Any = cast("dict[str, Any]", described).get("schema") if isinstance(described, dict) else None
    if form.get("type") != "json_schema" or not isinstance(schema, dict):
        raise unsupported("response_format", "Anthropic's Messages need a JSON Schema (`json_schema`).")
    return {"type": "json_schema", "schema": schema}


def _tool_choice(settings: Settings) -> dict[str, Any]:
    asked = settings.tool_choice
    alone = settings.parallel_tool_calls is False
    if asked is None:
        return {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}} if alone else {}
    if isinstance(asked, str) and asked in _CHOICES:
        choice: dict[str, Any] = {"type": _CHOICES[asked]}
    elif isinstance(asked, dict) and isinstance(name := _function_name(asked), str):
        choice = {"type": "tool", "name": name}
    else:
        raise unsupported("tool_choice", "Anthropic's Messages know none, auto, required and the name of a function.")
    if alone and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tool_choice": choice}


def _function_name(choice: dict[str, Any]) -> Any:
    function: Any = choice.get("function")
    return cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None


def _tool(index: int, tool: Tool) -> dict[str, Any]:
    if tool.kind != "function":
        raise unsupported(f"tools[{index}]", f"A model server that speaks {NAME} does not bring {tool.kind}.")
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    fields["input_schema"] = {"type": "object", **tool.parameters}
    if tool.strict is not None:
        fields["strict"] = tool.strict
    return fields


def _system(messages: Iterable[tuple[int, Message]]) -> list[dict[str, Any]]:
    """What all system and developer messages say: Anthropic has one place for it, before the conversation."""
    blocks: list[dict[str, Any]] = []
    for index, message in messages:
        for part in message.parts if message.role in _HOISTED else ():
            if part.kind != "text":
                raise unsupported(f"messages[{index}].content", "Anthropic's system prompts are text.")
            if part.text:
                blocks.append({"type": "text", "text": part.text})
    return blocks


def _turns(messages: Iterable[tuple[int, Message]], body: bytes | LongBody) -> Iterator[dict[str, Any]]:
    """Turns of user and assistant, one after the other: what one side says in several messages is one turn.

    One of very many messages is several turns, which Anthropic takes for one.
    """
    role = ""
    blocks: list[dict[str, Any]] = []
    for index, message in messages:
        fresh = [] if message.role in _HOISTED else _said(index, message, body)
        if not fresh:
            continue
        said = "assistant" if message.role == "assistant" else "user"
        if blocks and (said != role or len(blocks) >= _LONGEST_TURN):
            yield {"role": role, "content": blocks}
            blocks = []
        role = said
        # Anthropic wants the results of tools before all else in a turn.
        place = sum(block["type"] == "tool_result" for block in blocks) if message.role == "tool" else len(blocks)
        blocks[place:place] = fresh
    if blocks:
        yield {"role": role, "content": blocks}


def _said(index: int, message: Message, body: bytes | LongBody) -> list[dict[str, Any]]:
    """The blocks of one message."""
    where = f"messages[{index}]"
    if message.role in ("tool", "function"):
        return [_result(where, message, body)]
    calls = [_call(f"{where}.tool_calls[{number}]", call, body) for number, call in enumerate(message.tool_calls)]
    return [*_blocks(where, message.parts, body), *calls]


def _blocks(where: str, parts: Sequence[Part], body: bytes | LongBody) -> list[dict[str, Any]]:
    made = (_block(f"{where}.content[{number}]", part, body) for number, part in enumerate(parts))
    return [block for block in made if block is not None]


def _block(where: str, part: Part, body: bytes | LongBody) -> dict[str, Any] | None:
    """A part; None for what Anthropic would refuse and nobody misses: empty text, reasoning that nobody signed."""
    match part.kind:
        case "text" | "refusal":
            return {"type": "text", "text": part.text} if part.text else None
        case "reasoning":
            thinking = {"type": "thinking", "thinking": part.text, "signature": part.signature}
            return thinking if part.signature else None
        case "redacted":
            return {"type": "redacted_thinking", "data": part.signature}
        case "image" if part.media is not None:
            return {"type": "image", "source": _source(where, part.media, body, "image")}
        case "file" if part.media is not None:
            return _document(where, part.media, body)
        case _:
            raise unsupported(where, f"Anthropic's Messages have no word for {part.kind}.")


def _document(where: str, media: Media, body: bytes | LongBody) -> dict[str, Any]:
    source = _source(where, media, body, "application/pdf")
    kind = "image" if source.get("media_type", "").startswith("image/") else "document"
    block: dict[str, Any] = {"type": kind, "source": source}
    if media.name and kind == "document":
        block["title"] = media.name
    return block


def _source(where: str, media: Media, body: bytes | LongBody, usual: str) -> dict[str, Any]:
    """Where the bytes are; `usual` is the media type, or the beginning of it, that is meant where none is said."""
    here = inline(media, body)
    if here is not None:
        kind = here.type or (usual if "/" in usual else "image/png")
        if not kind.startswith(("image/", usual)):
            raise unsupported(where, f"Anthropic's Messages take images and PDF, not {kind}.")
        return {"type": "base64", "media_type": kind, "data": here.data}
    if media.url:
        return {"type": "url", "url": media.url}
    if media.file_id:
        return {"type": "file", "file_id": media.file_id}
    raise unsupported(where, "It has neither bytes nor an address.")


def _result(where: str, message: Message, body: bytes | LongBody) -> dict[str, Any]:
    if message.call_id is None:
        raise unsupported(f"{where}.tool_call_id", "Anthropic's Messages need the id of the call.")
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.call_id}
    content = _blocks(where, message.parts, body)
    if content:
        only = content[0] if len(content) == 1 else {}
        block["content"] = only["text"] if only.get("type") == "text" else content
    if message.is_error:
        block["is_error"] = True
    return block


def _call(where: str, call: ToolCall, body: bytes | LongBody) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(where, call.arguments, body)}


def _input(where: str, arguments: str, body: bytes | LongBody) -> Raw:
    """The arguments as the model wrote them (P18); nothing at all is an empty object.

    Raises:
        BadRequest: they are not a JSON object, which Anthropic's input must be.
    """
    if isinstance(body, LongBody):
        if body.sample(arguments)[1] > LARGEST_STEP:
            raise long.too_long(f"{where}.function.arguments")
        arguments = body.whole(arguments)
    if not arguments.strip():
        return NO_INPUT
    try:
        _fields_of(arguments.encode())
    except NOT_JSON as problem:
        field = f"{where}.function.arguments"
        raise BadRequest(f"{field} is not a JSON object, which this model's server needs.", param=field) from problem
    return Raw(arguments.encode())
