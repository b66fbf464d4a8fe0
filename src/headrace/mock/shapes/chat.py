"""OpenAI chat completions: unnamed events, then `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest
from headrace.mock.answer import Answer, Call
from headrace.mock.question import Question
from headrace.mock.shapes.base import Glance, Piece, Shape, Writer, frame, openai_problem, text_of
from headrace.mock.steps import Frame, Part

_DONE: Final = b"[DONE]"
_encode = msgspec.json.encode
_Limit = Annotated[int, Meta(ge=0)]


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None


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
    max_tokens: _Limit | None = None
    max_completion_tokens: _Limit | None = None
    tools: list[_Tool] | None = None
    mock: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChatWriter(Writer):
    """Chunks."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._top: dict[str, Any] = {
            "id": f"chatcmpl-mock-{answer.number}",
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.question.model,
            # Survives proxies, which the headers do not.
            "system_fingerprint": f"fp_{answer.mark}",
        }

    def begin(self) -> Iterator[Frame]:
        """The role."""
        yield self._frame({"role": "assistant", "content": ""})

    def reasoning(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """In the field that most servers have for it."""
        return self._pieces("reasoning_content", pieces)

    def text(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """Content."""
        return self._pieces("content", pieces)

    def call(self, call: Call) -> Iterator[Frame]:
        """The name, then the arguments in fragments."""
        yield self._frame({"tool_calls": [{"index": call.index, **_call(call, "")}]})
        for fragment in call.fragments:
            piece = {"index": call.index, "function": {"arguments": fragment}}
            yield self._frame({"tool_calls": [piece]}, "content", 1)

    def end(self) -> Iterator[Frame]:
        """The finish, usage where it is sent, and the marker."""
        answer = self._answer
        finish: list[dict[str, Any]] = [{"index": 0, "delta": {}, "finish_reason": answer.finish}]
        yield frame(self._chunk(finish), part="finish")
        asked = answer.question.include_usage
        if asked if answer.settings.usage is None else answer.settings.usage:
            yield frame(self._chunk([], usage=self._usage), part="finish")
        yield frame(_DONE, part="done")

    def body(self) -> bytes:
        """A completion."""
        answer = self._answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = "".join(answer.reasoning)
        if answer.calls:
            message["tool_calls"] = [_call(call, call.arguments) for call in answer.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        value = {**self._top, "object": "chat.completion", "choices": [choice]}
        return _encode({**value, "usage": self._usage} if answer.settings.usage is not False else value)

    @property
    def _usage(self) -> dict[str, Any]:
        usage = self._answer.usage
        return {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        }

    def _pieces(self, field: str, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """The frames of nearly every answer, so their constant bytes are made once."""
        opening, _, ending = self._frame({field: ""}).data.partition(b'""}')
        ending = b"}" + ending
        for text, tokens in pieces:
            yield Frame(opening + text + ending, tokens)

    def _frame(self, delta: dict[str, Any], part: Part = "structure", tokens: int = 0) -> Frame:
        choices = [{"index": 0, "delta": delta, "finish_reason": None}]
        return frame(self._chunk(choices), part=part, tokens=tokens)

    def _chunk(self, choices: list[dict[str, Any]], **fields: Any) -> bytes:
        return _encode({**self._top, "choices": choices, **fields})


def _call(call: Call, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{call.digest}", "type": "function", "function": function}


class Chat(Shape):
    """`POST /v1/chat/completions`."""

    name = "openai.chat"
    path = "/v1/chat/completions"
    garbage = b"data: {this is not JSON\n\n"
    padding = (b'data: {"choices":[],"padding":"', b'"}')

    def read(self, body: bytes) -> Question:
        """The prompt is the text of the messages."""
        try:
            read = _decode(body)
        except NOT_JSON as error:
            raise BadRequest(f"The body is no chat request: {error}.") from None
        options = read.stream_options
        return Question(
            model=read.model,
            prompt="\n".join(text_of(message.content) for message in read.messages),
            stream=bool(read.stream),
            max_tokens=read.max_completion_tokens or read.max_tokens,
            tools=tuple(tool.function.name for tool in read.tools or () if tool.function),
            mock=read.mock or {},
            include_usage=bool(options and options.include_usage),
        )

    def writer(self, answer: Answer) -> ChatWriter:
        """Chunks."""
        return ChatWriter(answer)

    def problem(self, status: int, message: str, code: str) -> bytes:
        """OpenAI's."""
        return openai_problem(status, message, code)

    def failure(self, first: bytes, instead: bytes, form: str) -> bytes:
        """The error object as a chunk."""
        return frame(openai_problem(500, "The model was told to fail.", "mock_error")).data

    def began(self, payload: bytes) -> bool:
        """Servers leave out nearly everything of a chunk, so whatever no other shape takes is one."""
        return True

    def glance(self, payload: bytes) -> Glance:
        """The text is that of the first choice."""
        if payload == _DONE:
            return Glance("done")
        try:
            choices = _decode_chunk(payload).choices or []
        except NOT_JSON:
            return Glance()
        said = [(choice.index, choice.delta.content) for choice in choices if choice.delta and choice.delta.content]
        finish = next((choice.finish_reason for choice in choices if choice.finish_reason), "")
        ends = finish or b'"choices":[]' in payload
        part: Part = "finish" if ends else "content" if said else "structure"
        return Glance(part, "".join(text for index, text in said if index == 0), finish)
