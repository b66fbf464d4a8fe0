"""OpenAI Responses: named and numbered events for items and their parts, then the whole response again."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest
from headrace.mock.answer import Answer, Call
from headrace.mock.question import Question
from headrace.mock.shapes.base import Glance, Piece, Shape, Writer, frame, openai_problem, text_of
from headrace.mock.steps import Frame, Part

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
    "store": True,
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


class ResponsesWriter(Writer):
    """Items, each of which is said twice: in parts, and whole when it is done."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._mark = f"mock{answer.number}_{answer.mark}"

    def begin(self) -> Iterator[Frame]:
        """The response, still empty."""
        yield self._event("response.created", {"response": self._response("in_progress")})
        yield self._event("response.in_progress", {"response": self._response("in_progress")})

    def reasoning(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """A summary of one part."""
        item: dict[str, Any] = {"id": self._id("rs"), "type": "reasoning", "summary": []}
        at: dict[str, Any] = {"item_id": item["id"], "output_index": len(self._output), "summary_index": 0}
        yield self._added(item)
        empty = {"type": "summary_text", "text": ""}
        yield self._event("response.reasoning_summary_part.added", {**at, "part": empty})
        said: list[bytes] = []
        yield from self._deltas("response.reasoning_summary_text.delta", at, {}, pieces, said)
        text = _joined(said)
        yield self._event("response.reasoning_summary_text.done", {**at, "text": text})
        yield self._event("response.reasoning_summary_part.done", {**at, "part": {**empty, "text": text}})
        yield self._done(_reasoning(item, text, self._answer))

    def text(self, pieces: Iterable[Piece]) -> Iterator[Frame]:
        """A message of one part."""
        item = _message(self._id("msg"), "in_progress", [])
        at: dict[str, Any] = {"item_id": item["id"], "output_index": len(self._output), "content_index": 0}
        yield self._added(item)
        yield self._event("response.content_part.added", {**at, "part": _output_text("")})
        said: list[bytes] = []
        yield from self._deltas("response.output_text.delta", at, {"logprobs": []}, pieces, said)
        text = _joined(said)
        yield self._event("response.output_text.done", {**at, "text": text, "logprobs": []})
        yield self._event("response.content_part.done", {**at, "part": _output_text(text)})
        yield self._done(_message(item["id"], self._status, [_output_text(text)]))

    def call(self, call: Call) -> Iterator[Frame]:
        """The name, then the arguments in fragments."""
        item = _function_call(self._id("fc"), call, "in_progress", "")
        at: dict[str, Any] = {"item_id": item["id"], "output_index": len(self._output)}
        yield self._added(item)
        kind = "response.function_call_arguments"
        for fragment in call.fragments:
            yield self._event(f"{kind}.delta", {**at, "delta": fragment}, "content", 1)
        yield self._event(f"{kind}.done", {**at, "name": call.name, "arguments": call.arguments})
        yield self._done(_function_call(item["id"], call, "completed", call.arguments))

    def end(self) -> Iterator[Frame]:
        """The whole response."""
        yield self._event(f"response.{self._status}", {"response": self._response(self._status)}, "done")

    def body(self) -> bytes:
        """A response."""
        answer = self._answer
        self._output = []
        if answer.reasoning:
            item = {"id": self._id("rs"), "type": "reasoning"}
            self._output.append(_reasoning(item, "".join(answer.reasoning), answer))
        if answer.content:
            self._output.append(_message(self._id("msg"), self._status, [_output_text(answer.text)]))
        for call in answer.calls:
            self._output.append(_function_call(self._id("fc"), call, "completed", call.arguments))
        return _encode(self._response(self._status))

    @property
    def _status(self) -> str:
        return "incomplete" if self._answer.finish in ("length", "content_filter") else "completed"

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._mark}_{len(self._output)}"

    def _response(self, status: str) -> dict[str, Any]:
        answer = self._answer
        over = status != "in_progress"
        reason = {"length": "max_output_tokens"}.get(answer.finish, answer.finish)
        return {
            "id": f"resp_{self._mark}",
            "object": "response",
            "created_at": answer.created,
            "status": status,
            "completed_at": answer.created if status == "completed" else None,
            "error": None,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            **answer.question.echo,
            "model": answer.question.model,
            "output": self._output if over else [],
            "usage": self._usage if over and answer.settings.usage is not False else None,
        }

    @property
    def _usage(self) -> dict[str, Any]:
        usage = self._answer.usage
        return {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        }

    def _event(self, name: str, fields: dict[str, Any], part: Part = "structure", tokens: int = 0) -> Frame:
        event = {"type": name, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return frame(_encode(event), name, part=part, tokens=tokens)

    def _added(self, item: dict[str, Any]) -> Frame:
        return self._event("response.output_item.added", {"output_index": len(self._output), "item": item})

    def _done(self, item: dict[str, Any]) -> Frame:
        self._output.append(item)
        return self._event("response.output_item.done", {"output_index": len(self._output) - 1, "item": item})

    def _deltas(
        self, name: str, at: dict[str, Any], ending: dict[str, Any], pieces: Iterable[Piece], said: list[bytes]
    ) -> Iterator[Frame]:
        """The frames of nearly every answer, so their constant bytes are made once; `said` gets the pieces."""
        opening = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name.encode(), name.encode())
        middle = b"," + _encode(at)[1:-1] + b',"delta":'
        last = (b"," if ending else b"") + _encode(ending)[1:] + b"\n\n"
        for text, tokens in pieces:
            said.append(text)
            yield Frame(b"%b%d%b%b%b" % (opening, self._sequence, middle, text, last), tokens)
            self._sequence += 1


def _joined(said: list[bytes]) -> Raw:
    """The pieces as one JSON string."""
    return Raw(b'"%b"' % b"".join(piece[1:-1] for piece in said))


def _output_text(text: str | Raw) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(id: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def _function_call(id: str, call: Call, status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": f"call_{call.digest}",
        "name": call.name,
    }


def _reasoning(item: dict[str, Any], text: str | Raw, answer: Answer) -> dict[str, Any]:
    """A reasoning item that is done; what is encrypted is opaque to everybody, and the same for the same thoughts."""
    done = {**item, "summary": [{"type": "summary_text", "text": text}]}
    if answer.question.signed:
        done["encrypted_content"] = base64.urlsafe_b64encode(
            hashlib.shake_256("".join(answer.reasoning).encode()).digest(96)
        ).decode()
    return done


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
    return {**_DEFAULTS, **said}


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
