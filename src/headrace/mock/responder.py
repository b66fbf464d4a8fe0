"""Requests in, steps out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any, Final

import msgspec

from headrace.errors import BadRequest
from headrace.mock.answer import made_up
from headrace.mock.asked import read_wishes
from headrace.mock.damage import damaged
from headrace.mock.delivery import streamed, whole
from headrace.mock.faults import KINDS, Fault
from headrace.mock.question import Question
from headrace.mock.recording import Recording
from headrace.mock.scenario import Director
from headrace.mock.settings import Settings
from headrace.mock.shapes import BY_PATH, CHAT, MESSAGES, Shape
from headrace.mock.stats import Stats
from headrace.mock.steps import Cut, End, Frame, Hang, Head, Step, Steps

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream; charset=utf-8"
_encode = msgspec.json.encode


class HttpRequest(msgspec.Struct, frozen=True):
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    chunked: bool
    """Whether the client understands chunks: HTTP/1.0 does not."""
    keep_alive: bool


class Reply(msgspec.Struct, frozen=True):
    """What to do for a request."""

    steps: Steps
    counts: bool = False
    """Whether it is an answer of the model, as the statistics count them."""


class Responder:
    """Knows the routes; the state of the server is in what it is given."""

    def __init__(
        self, settings: Settings, director: Director, stats: Stats, recordings: Sequence[Recording] = ()
    ) -> None:
        self._settings = settings
        self._director = director
        self._stats = stats
        self._recordings = recordings

    def reply(self, request: HttpRequest) -> Reply:
        """Decide what happens to a request; a wrong one is answered and counts as nothing."""
        match request.method, request.path.partition("?")[0]:
            case "POST", path if path in BY_PATH:
                return self._ask(request, BY_PATH[path])
            case "POST", "/v1/messages/count_tokens":
                return _count(request)
            case "GET", "/v1/models":
                return _value(request, {"object": "list", "data": [_model(name) for name in self._settings.models]})
            case "GET", "/health":  # routers ask for it before they send anything
                return _value(request, {"status": "ok"})
            case "GET", "/stats":
                return _value(request, self._stats.as_json())
            case "POST", "/stats/reset":
                self._stats.reset()
                self._director.reset()
                return _value(request, self._stats.as_json())
            case "HEAD", _:
                return Reply(iter([_head(request, 404, {"content-length": "0"}), End()]))
            case _:
                return _problem(request, 404, "This mock has no such route.", "not_found")

    def _ask(self, request: HttpRequest, shape: Shape) -> Reply:
        try:
            asked = read_wishes(shape.read(request.body), request.headers)
            recordings = self._recordings_of(shape)
            self._stats.requests += 1
            number = self._stats.requests
            settings, faults = self._director.direct(asked, number)
        except BadRequest as error:
            return _problem(request, 400, error.message, error.error_code, shape)
        except ValueError as error:
            message = f"The mock was asked for what it does not have: {error}."
            return _problem(request, 400, message, "invalid_request", shape)
        question = asked.question
        faults = [fault for fault in faults if question.stream or KINDS[fault.name].whole]
        self._stats.faults.update(fault.name for fault in faults)
        for fault in faults:
            early = _early(request, fault, shape)
            if early is not None:
                return Reply(iter(early), counts=True)
        if recordings:
            recording = recordings[(number - 1) % len(recordings)]
            steps = recording.steps(settings) if question.stream else recording.whole(question, settings)
            sha256 = recording.sha256
        else:
            answer = made_up(question, settings, number)
            writer = shape.writer(answer)
            steps = streamed(answer, writer) if question.stream else whole(answer, writer)
            sha256 = answer.sha256
        for fault in faults:
            steps = damaged(steps, fault, shape)
        return Reply(chain([_opening(request, question, sha256, faults)], steps), counts=True)

    def _recordings_of(self, shape: Shape) -> Sequence[Recording]:
        found = [recording for recording in self._recordings if recording.shape is shape]
        if self._recordings and not found:
            names = ", ".join(sorted({recording.shape.name for recording in self._recordings}))
            raise BadRequest(f"The mock gives recordings of {names}, and has none of {shape.name}.")
        return found


def _opening(request: HttpRequest, question: Question, sha256: str, faults: Sequence[Fault]) -> Head:
    """The head of an answer."""
    headers = {"content-type": _SSE if question.stream else _JSON, "x-mock-sha256": sha256}
    if question.stream:
        headers["cache-control"] = "no-cache"
    for fault in faults:
        if fault.name == "wrong-content-type":
            headers["content-type"] = fault["type"]
        elif fault.name == "gzip":
            headers["content-encoding"] = "gzip"
    return _head(request, 200, headers)


def _count(request: HttpRequest) -> Reply:
    try:
        return _json(request, MESSAGES.count(request.body))
    except BadRequest as error:
        return _problem(request, 400, error.message, error.error_code, MESSAGES)


def _early(request: HttpRequest, fault: Fault, shape: Shape) -> Iterable[Step] | None:
    """The steps of a fault that leaves nothing of the answer."""
    match fault.name:
        case "refuse":
            return [Cut(fault.name, reset=True)]
        case "hang-before-headers":
            return [Hang(fault.name)]
        case "status":
            retry_after = fault["retry-after"]
            headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
            body = shape.problem(fault["code"], "The mock was told to fail.", "mock_error")
            return _error(request, fault["code"], body, headers, fault.name)
        case _:
            return None


def _head(request: HttpRequest, status: int, headers: Mapping[str, str]) -> Head:
    """The head; a body without a length is chunked, or ends with the connection where chunks are not understood."""
    chunked = "content-length" not in headers and request.chunked
    fields = {**headers, **({"transfer-encoding": "chunked"} if chunked else {})}
    closes = not request.keep_alive or (not chunked and "content-length" not in headers)
    fields["connection"] = "close" if closes else "keep-alive"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return Head(f"HTTP/1.1 {status} {_phrase(status)}\r\n{lines}\r\n".encode(), chunked, closes)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else "Error"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "mock"}


def _value(request: HttpRequest, value: Any) -> Reply:
    return _json(request, _encode(value))


def _json(request: HttpRequest, body: bytes) -> Reply:
    head = _head(request, 200, {"content-type": _JSON, "content-length": str(len(body))})
    return Reply(iter([head, Frame(body), End()]))


def _problem(request: HttpRequest, status: int, message: str, code: str, shape: Shape = CHAT) -> Reply:
    return Reply(iter(_error(request, status, shape.problem(status, message, code), {}, "")))


def _error(request: HttpRequest, status: int, body: bytes, headers: Mapping[str, str], fault: str) -> list[Step]:
    fields = {"content-type": _JSON, "content-length": str(len(body)), **headers}
    return [_head(request, status, fields), Frame(body), End(fault)]
