"""OpenAI Responses: named and numbered events for items and their parts, then the whole response again."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from headrace.mock.answer import Answer, Call
from headrace.mock.shapes.base import Piece, Writer, frame
from headrace.mock.steps import Frame, Part

_encode = msgspec.json.encode


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
        for number, (text, tokens) in enumerate(pieces, self._sequence):
            said.append(text)
            yield Frame(b"%b%d%b%b%b" % (opening, number, middle, text, last), tokens)
        self._sequence += len(said)


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
