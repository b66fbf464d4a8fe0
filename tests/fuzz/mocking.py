"""Targets: what the mock is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any, cast

from headrace.errors import BadRequest
from headrace.mock.asked import Asked, read_wishes
from headrace.mock.connection import Connection, Shared
from headrace.mock.pacing import Wheel
from headrace.mock.responder import HttpRequest, Reply, Responder
from headrace.mock.scenario import Director
from headrace.mock.settings import Settings
from headrace.mock.shapes import BY_PATH, CHAT
from headrace.mock.stats import Stats
from headrace.mock.steps import Cut, End, Frame, Hang, Head
from tests.fuzz.inputs import cut, head_and_body, parted

_SETTINGS = Settings(tokens=5)
_MANY = 1000
_STEPS = 20_000


def mock_request(data: bytes) -> None:
    """Any request is answered with steps that have an end, or with a 400."""
    first, headers, body = head_and_body(data)
    method, _, path = first.partition(" ")
    if _is_large(path, body, dict(headers)):
        return
    request = HttpRequest(method, path, dict(headers), body, chunked=True, keep_alive=True)
    first_step, *steps = islice(_responder().reply(request).steps, _STEPS)
    if len(steps) == _STEPS - 1:
        return
    steps = [first_step, *steps]
    assert isinstance(steps[0], Head | Cut | Hang)
    stop = next(step for step in steps if isinstance(step, End | Cut | Hang))
    sent = [step for step in steps[: steps.index(stop)] if isinstance(step, Frame)]
    assert all(isinstance(step.data, bytes) for step in sent)


def _responder() -> Responder:
    return Responder(_SETTINGS, Director(_SETTINGS, (), ()), Stats())


def _is_large(path: str, body: bytes, headers: dict[str, str]) -> bool:
    """Whether it asks for more than a test has time for: the mock gives as much as it is asked for."""
    try:
        shape = BY_PATH.get(path.partition("?")[0], CHAT)
        asked = read_wishes(shape.read(body), headers)
    except BadRequest:
        return False
    wishes = asked.overrides
    counts = [wishes.tokens, wishes.reasoning, wishes.tool_calls, asked.question.max_tokens]
    return any((count or 0) > _MANY for count in counts) or _has_large_line(asked)


def _has_large_line(asked: Asked) -> bool:
    return any(fault.name == "long-line" and fault["size"] > 100 * _MANY for fault in asked.faults)


class _Loop:
    """As much of an event loop as a connection needs: calls are noted and made by the target."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        assert when >= 0
        return _Timer()


class _Timer:
    def cancel(self) -> None: ...


class _Transport:
    """What was written, and whether the connection is over."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None: ...


def mock_connection(data: bytes) -> None:
    """Any bytes on a connection: whole requests are answered in order, others are refused, and nothing is raised."""
    (seed,), sent = parted(data, 1)
    loop, transport = _Loop(), _Transport()
    failures: list[Exception] = []

    def reply(request: HttpRequest) -> Reply:
        # The parser turns what is raised inside it into an error of its own, which looks like a bad request.
        try:
            return (
                Reply(iter([End()]))
                if _is_large(request.path, request.body, dict(request.headers))
                else answer(request)
            )
        except Exception as problem:
            failures.append(problem)
            raise

    answer = _responder().reply
    fake = cast("asyncio.AbstractEventLoop", loop)
    connection = Connection(Shared(fake, Wheel(fake), Stats(), reply, lambda _: False))
    connection.connection_made(cast("Any", transport))
    for read in cut(sent, seed):
        if not transport.closed:
            connection.data_received(read)
        for callback in islice(iter(lambda: loop.soon.pop() if loop.soon else None, None), _MANY):
            callback()
    connection.connection_lost(None)
    if failures:
        raise failures[0]
    assert not transport.written or transport.written.startswith(b"HTTP/1.1 ")
