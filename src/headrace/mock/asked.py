"""What a request asks for: its prompt, and what it says to the mock itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest
from headrace.mock.faults import Fault, parse_faults
from headrace.mock.settings import Overrides

_HEADERS = {
    "x-mock-tokens": "tokens",
    "x-mock-gap": "gap",
    "x-mock-ttft": "ttft",
    "x-mock-tool-calls": "tool-calls",
    "x-mock-reasoning": "reasoning",
    "x-mock-chunk-words": "chunk-words",
    "x-mock-stamp": "stamp",
}


class Asked(msgspec.Struct, frozen=True):
    """One chat request."""

    model: str
    prompt: str
    """The text of all messages, joined by line feeds."""
    stream: bool
    include_usage: bool
    max_tokens: int | None
    tools: tuple[str, ...]
    overrides: Overrides
    faults: tuple[Fault, ...]


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or ""


class _Function(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    function: _Function | None = None


class _Options(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _Options | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    mock: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Body).decode


def read_request(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Read a chat request; what its `mock` object says beats the `X-Mock-` headers, which come first.

    Raises:
        BadRequest: it is none, or it asks the mock for something that it does not have.
    """
    try:
        read = _decode(body)
    except NOT_JSON as error:
        raise BadRequest(f"The body is no chat request: {error}.") from None
    wishes: dict[str, Any] = {_HEADERS[name]: value for name, value in headers.items() if name in _HEADERS}
    wishes.update(read.mock or {})
    written = wishes.pop("fault", "")
    listed: list[Any] = [headers.get("x-mock-fault", ""), *(_listed(written))]
    options = read.stream_options
    return Asked(
        model=read.model,
        prompt="\n".join(message.text for message in read.messages),
        stream=bool(read.stream),
        include_usage=bool(options and options.include_usage),
        max_tokens=read.max_completion_tokens or read.max_tokens,
        tools=tuple(tool.function.name for tool in read.tools or () if tool.function),
        overrides=_overrides(wishes),
        faults=tuple(fault for text in listed for fault in parse_faults(str(text))),
    )


def _listed(written: Any) -> list[Any]:
    return cast("list[Any]", written) if isinstance(written, list) else [written]


def _overrides(wishes: dict[str, Any]) -> Overrides:
    try:
        # Not strict: headers are text.
        return msgspec.convert(wishes, Overrides, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The mock was asked for what it does not have: {error}.", param="mock") from None
