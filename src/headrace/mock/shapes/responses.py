"""OpenAI Responses: how they are asked for, how they fail, and what a recording of one says."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest
from headrace.mock.answer import Answer
from headrace.mock.question import Question
from headrace.mock.shapes.base import Glance, Shape, frame, openai_problem, text_of
from headrace.mock.shapes.responses_writer import ResponsesWriter

_ENCRYPTED: Final = "reasoning.encrypted_content"
_DEFAULTS: Final[dict[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""The fields of a request that the response repeats, as they are where the request has none."""
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")
_NUMBER: Final = re.compile(rb'"sequence_number":([0-9]{1,15})')
_encode = msgspec.json.encode


class _Body(msgspec.Struct):
    model: str
    input: str | list[dict[str, Any]] = ""
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    include: list[str] | None = None
    mock: dict[str, Any] | None = None


class _Incomplete(msgspec.Struct):
    reason: str = ""


class _Item(msgspec.Struct):
    type: str = ""


class _Response(msgspec.Struct):
    output: list[_Item] | None = None
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    response: _Response | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def _prompt(read: _Body) -> str:
    """An assistant's calls belong to the message before them, or to one without text, as they do in other shapes."""
    texts = [] if read.instructions is None else [read.instructions]
    if isinstance(read.input, str):
        return "\n".join([*texts, read.input])
    said = False
    for item in read.input:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            texts.append(text_of(item.get("output")))
        elif kind == "message":
            texts.append(text_of(item.get("content")))
        elif kind == "function_call" and not said:
            texts.append("")
        said = kind == "function_call" or item.get("role") == "assistant" or (said and kind == "reasoning")
    return "\n".join(texts)


def _echo(fields: dict[str, Any]) -> dict[str, Any]:
    """What the response repeats of the request, with what the vendor puts where nothing was said."""
    said = {name: value for name, value in fields.items() if name in _DEFAULTS and value is not None}
    tools: list[dict[str, Any]] = said.get("tools", [])
    whole = {"description": None, "parameters": None, "strict": True}
    said["tools"] = [{**whole, **tool} if tool.get("type") == "function" else tool for tool in tools]
    return {**_DEFAULTS, **said, "store": False}  # it keeps nothing, and who asks it must not think so


class Responses(Shape):
    """`POST /v1/responses`."""

    name = "openai.responses"
    path = "/v1/responses"
    garbage = b"event: response.output_text.delta\ndata: {this is not JSON\n\n"
    padding = (b'event: keepalive\ndata: {"type":"keepalive","padding":"', b'"}')

    def read(self, body: bytes) -> Question:
        """Nothing is stored, so `previous_response_id` is repeated and not followed."""
        try:
            read = _decode(body)
            fields = _decode_fields(body)
        except NOT_JSON as error:
            raise BadRequest(f"The body is no Responses request: {error}.") from None
        functions = [tool for tool in read.tools or () if tool.get("type") == "function"]
        return Question(
            model=read.model,
            prompt=_prompt(read),
            stream=bool(read.stream),
            max_tokens=read.max_output_tokens,
            tools=tuple(str(tool.get("name", "")) for tool in functions),
            mock=read.mock or {},
            signed=_ENCRYPTED in (read.include or ()),
            echo=_echo(fields),
        )

    def writer(self, answer: Answer) -> ResponsesWriter:
        """Items."""
        return ResponsesWriter(answer)

    def problem(self, status: int, message: str, code: str) -> bytes:
        """OpenAI's."""
        return openai_problem(status, message, code)

    def failure(self, first: bytes, instead: bytes, form: str) -> bytes:
        """The response with the state `failed`, or an event that is no response: the vendor has both."""
        found = _NUMBER.search(instead)
        numbered = {"sequence_number": int(found[1]) if found else 0}
        error = {"code": "server_error", "message": "The model was told to fail."}
        if form == "error":
            # Documented flat, and sent nested: both are here.
            nested = {"type": "server_error", **error, "param": None}
            event = {"type": "error", **numbered, **error, "param": None, "error": nested}
            return frame(_encode(event), "error").data
        response = {**_first_response(first), "status": "failed", "error": error}
        event = {"type": "response.failed", **numbered, "response": response}
        return frame(_encode(event), "response.failed").data

    def began(self, payload: bytes) -> bool:
        """Its events have types of their own."""
        return _read_event(payload).type.startswith("response.")

    def glance(self, payload: bytes) -> Glance:
        """Whatever ends in `.delta` is content."""
        event = _read_event(payload)
        if event.type.endswith(".delta") and event.delta:
            return Glance("content", event.delta if event.type == "response.output_text.delta" else "")
        if event.type in _ENDS:
            return Glance("done", finish=_finish(event.response or _Response()))
        return Glance()


def _finish(response: _Response) -> str:
    if response.incomplete_details:
        return {"max_output_tokens": "length"}.get(response.incomplete_details.reason, "content_filter")
    return "tool_calls" if any(item.type == "function_call" for item in response.output or ()) else "stop"


def _first_response(first: bytes) -> dict[str, Any]:
    try:
        return _decode_fields(first.partition(b"data:")[2])["response"]
    except (*NOT_JSON, KeyError):
        return {"id": "resp_mock", "object": "response", "created_at": 0, "model": "mock", "output": []}


def _read_event(payload: bytes) -> _Event:
    try:
        return _decode_event(payload)
    except NOT_JSON:
        return _Event()
