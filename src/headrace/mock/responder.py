"""Requests in, steps out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any, Final

import msgspec

from headrace.errors import BadRequest
from headrace.mock.answer import Answer
from headrace.mock.asked import Asked, read_request
from headrace.mock.damage import damaged
from headrace.mock.faults import KINDS, Fault
from headrace.mock.recording import Recording
from headrace.mock.scenario import Director
from headrace.mock.settings import Settings
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
            case "POST", "/v1/chat/completions":
                return self._chat(request)
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

    def _chat(self, request: HttpRequest) -> Reply:
        try:
            asked = read_request(request.body, request.headers)
            self._stats.requests += 1
            number = self._stats.requests
            settings, faults = self._director.direct(asked, number)
        except BadRequest as error:
            return _problem(request, 400, error.message, error.error_code)
        except ValueError as error:
            return _problem(request, 400, f"The mock was asked for what it does not have: {error}.", "invalid_request")
        faults = [fault for fault in faults if asked.stream or KINDS[fault.name].whole]
        self._stats.faults.update(fault.name for fault in faults)
        for fault in faults:
            early = _early(request, fault)
            if early is not None:
                return Reply(iter(early), counts=True)
        return Reply(self._answer(request, asked, settings, faults, number), counts=True)

    def _answer(
        self, request: HttpRequest, asked: Asked, settings: Settings, faults: Sequence[Fault], number: int
    ) -> Steps:
        if self._recordings:
            recording = self._recordings[(number - 1) % len(self._recordings)]
            sha256 = recording.sha256
            steps = recording.steps(settings) if asked.stream else recording.whole(asked, settings)
        else:
            answer = Answer(asked, settings, number)
            sha256 = answer.sha256
            steps = answer.steps() if asked.stream else answer.whole()
        for fault in faults:
            steps = damaged(steps, fault)
        names = {fault.name: fault for fault in faults}
        headers = {"content-type": _SSE if asked.stream else _JSON, "x-mock-sha256": sha256}
        if asked.stream:
            headers["cache-control"] = "no-cache"
        if "wrong-content-type" in names:
            headers["content-type"] = names["wrong-content-type"]["type"]
        if "gzip" in names:
            headers["content-encoding"] = "gzip"
        return chain([_head(request, 200, headers)], steps)


def _early(request: HttpRequest, fault: Fault) -> Iterable[Step] | None:
    """The steps of a fault that leaves nothing of the answer."""
    match fault.name:
        case "refuse":
            return [Cut(fault.name, reset=True)]
        case "hang-before-headers":
            return [Hang(fault.name)]
        case "status":
            retry_after = fault["retry-after"]
            headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
            return _error(request, fault["code"], "The mock was told to fail.", "mock_error", headers, fault.name)
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
    body = _encode(value)
    head = _head(request, 200, {"content-type": _JSON, "content-length": str(len(body))})
    return Reply(iter([head, Frame(body), End()]))


def _problem(request: HttpRequest, status: int, message: str, code: str) -> Reply:
    return Reply(iter(_error(request, status, message, code, {}, "")))


def _error(
    request: HttpRequest, status: int, message: str, code: str, headers: Mapping[str, str], fault: str
) -> list[Step]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
    fields = {"content-type": _JSON, "content-length": str(len(body)), **headers}
    return [_head(request, status, fields), Frame(body), End(fault)]
