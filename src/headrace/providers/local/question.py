"""A request in llama.cpp's words: the JSON body of a streaming chat completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

from headrace.bodies import LongBody
from headrace.errors import BadRequest
from headrace.messages import Message, Part, Request, Settings, Tool

ToGrammar = Callable[[dict[str, Any]], str]

# Temperature and top_p of the model card's example: at llama.cpp's 0.8 a model this small loses its thread. With them
# alone it ends in one sentence, or one JSON string, repeated until the context is full; with the penalty a story ends
# by itself after about 400 tokens.
_DEFAULTS = {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1}
_SAME_NAME = ("temperature", "top_p", "top_k", "max_tokens", "seed", "presence_penalty", "frequency_penalty")
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")
# The template knows three roles; a result is text for the model to read.
_ROLES = {"developer": "system", "tool": "user", "function": "user"}
_READ = ("text", "refusal")
_LEFT_OUT = ("reasoning", "redacted")
_MEDIA = {"image": "an image", "audio": "a sound", "file": "a file"}
# Where these bring properties from elsewhere, closing the object would forbid them.
_COMPOSED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_CALL = 'Call one of these functions. Answer only with JSON, {"name": the function, "arguments": its arguments}:'


LONGEST_TOKEN = 256
"""Characters that one token of any vocabulary has at most: the longest are runs of spaces."""


class Question(msgspec.Struct, frozen=True):
    """What llama.cpp is asked, and how its answer is to be read."""

    body: bytes
    is_call: bool
    """The answer is the JSON of a tool call, name first."""


class _Named(msgspec.Struct, frozen=True):
    name: str


def ask(request: Request, to_grammar: ToGrammar) -> Question:
    """Translate a request.

    Tools are offered to the model only when one has to be called (`tool_choice` required or a name): then a grammar
    leaves it no choice. Left to itself, a model of this size does not call functions.

    Raises:
        BadRequest: with `param`, for what the embedded model cannot do.
    """
    settings = request.settings
    if settings.n is not None and settings.n > 1:
        raise BadRequest("the embedded model gives one answer: leave n out", param="n")
    body: dict[str, Any] = {
        **_DEFAULTS,
        "stream": True,
        "stream_options": {"include_usage": True},
        # A frame for each step of the prompt: without it a stop would be seen only at the first token.
        "return_progress": True,
        "messages": _messages(request.messages),
        **_sampling(settings),
    }
    response_format = _response_format(settings.response_format)
    tools = _callable(request.tools, settings.tool_choice)
    if tools:
        body["messages"] = _with_system(body["messages"], _introduction(tools))
        body["grammar"] = to_grammar(_call_schema(tools))
        body.pop("stop", None)  # it would cut the call
    elif response_format is not None:
        body["response_format"] = response_format
    return Question(msgspec.json.encode(body), is_call=bool(tools))


def check_length(request: Request, context: int) -> None:
    """Refuse what cannot fit before it is cut into tokens: 30 MB of text took 3 GB and 38 s.

    Raises:
        BadRequest: `context_length_exceeded`.
    """
    if isinstance(request.body, LongBody):
        raise BadRequest(
            f"the request has {request.body.body.size} bytes, too many for the embedded model: shorten it",
            code="context_length_exceeded",
            param="messages",
        )
    longest = context * LONGEST_TOKEN
    length = sum(len(message.text) for message in request.messages)
    if length > longest:
        raise BadRequest(
            f"the messages have {length} characters, and the embedded model's context of "
            f"{context} tokens holds {longest} at the very most: shorten them",
            code="context_length_exceeded",
            param="messages",
        )


def _sampling(settings: Settings) -> dict[str, Any]:
    given = {name: getattr(settings, name) for name in _SAME_NAME if getattr(settings, name) is not None}
    if stop := [text for text in settings.stop if text]:
        given["stop"] = stop
    if settings.seed is not None:
        # A prompt that is read from the cache is computed in other steps, which changes the last bits of the numbers.
        given["cache_prompt"] = False
    return given


def _response_format(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None or value.get("type") == "text":
        return None
    if value.get("type") not in _RESPONSE_FORMATS:
        raise BadRequest(f"expected one of {', '.join(_RESPONSE_FORMATS)}", param="response_format.type")
    return value


def _messages(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [
        {"role": _ROLES.get(message.role, message.role), "content": _content(message, index)}
        for index, message in enumerate(messages)
    ]


def _content(message: Message, index: int) -> str:
    """What the template gets. Reasoning of earlier turns is left out: this model has none."""
    for part in message.parts:
        if part.kind not in (*_READ, *_LEFT_OUT):
            raise BadRequest(
                f"the embedded model reads text only, this message has {_named_part(part)}",
                param=f"messages[{index}].content",
            )
    said = (part.text for part in message.parts if part.kind in _READ)
    calls = (
        f'{{"name": {_json(call.name)}, "arguments": {call.arguments or "{}"}}}'  # as it is asked for in `_CALL`
        for call in message.tool_calls
    )
    text = "\n".join(piece for piece in ("".join(said), *calls) if piece)
    if message.role not in ("tool", "function"):
        return text
    return f"{'Error' if message.is_error else 'Result'} of the function: {text}"


def _named_part(part: Part) -> str:
    return _MEDIA.get(part.kind, f"a part of type {part.kind}")


def _callable(tools: tuple[Tool, ...], choice: str | dict[str, Any] | None) -> tuple[Tool, ...]:
    """The tools of which one must be called; none when the answer is free."""
    for index, tool in enumerate(tools):
        if tool.kind != "function":
            text = f"the embedded model can only call functions, this tool is of type {tool.kind}"
            raise BadRequest(text, param=f"tools[{index}].type")
    if choice is None or choice in ("auto", "none"):
        return ()
    if choice == "required":
        if not tools:
            raise BadRequest("a function is required and there is none: add tools", param="tool_choice")
        return tools
    name = _named(choice) if isinstance(choice, dict) else None
    if name is None:
        raise BadRequest("expected auto, none, required or the name of one function", param="tool_choice")
    chosen = tuple(tool for tool in tools if tool.name == name)
    if not chosen:
        raise BadRequest(f"there is no function {name!r} among the tools", param="tool_choice")
    return chosen[:1]


def _named(choice: dict[str, Any]) -> str | None:
    # {"type": "function", "function": {"name": …}} in chat completions, {"type": "function", "name": …} in responses.
    try:
        return msgspec.convert(choice.get("function", choice), _Named).name
    except msgspec.ValidationError:
        return None


def _call_schema(tools: tuple[Tool, ...]) -> dict[str, Any]:
    """Compact JSON with the name first, so that the arguments can be passed on while they are written.

    Definitions move to the root, where `$ref` looks for them; where two tools use one name for different definitions,
    the later one wins.
    """
    schema: dict[str, Any] = {"x-guidance": {"whitespace_flexible": False}}
    calls: list[dict[str, Any]] = []
    for tool in tools:
        arguments: dict[str, Any] = {**tool.parameters, "type": "object"}
        if not _COMPOSED & arguments.keys():
            # Closed unless it says otherwise: the model would go on inventing properties.
            arguments.setdefault("additionalProperties", False)
        for key in ("$defs", "definitions"):
            if key in arguments:
                schema.setdefault(key, {}).update(_definitions(arguments.pop(key), key))
        properties = {"name": {"const": tool.name}, "arguments": arguments}
        calls.append({"type": "object", "properties": properties, "required": ["name", "arguments"]})
    for call in calls:
        call["additionalProperties"] = False
    return schema | (calls[0] if len(calls) == 1 else {"anyOf": calls})


def _definitions(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{key} of a function's parameters is an object", param="tools")
    return cast("dict[str, Any]", value)


def _introduction(tools: tuple[Tool, ...]) -> str:
    lines = (
        _json({"name": tool.name, "description": tool.description or "", "parameters": tool.parameters})
        for tool in tools
    )
    return "\n".join((_CALL, *lines))


def _with_system(messages: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    if messages and messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
