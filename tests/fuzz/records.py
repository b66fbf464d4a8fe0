"""Targets: records that come from elsewhere, out of a file or from another server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import typer

from headrace.cli import connection, tail
from headrace.codecs import LineTooLong
from headrace.codecs.sse import SSEDecoder
from headrace.dialects.openai_chat import ChatDecoder
from headrace.errors import ConfigError, HeadraceError
from headrace.events import StepEnd
from headrace.mock.question import Question
from headrace.mock.recording import parse_recording
from headrace.mock.settings import Settings
from headrace.mock.steps import End
from headrace.providers.recording import parse
from tests.fuzz.inputs import parted
from tests.fuzz.logs import check_log, log_of, terminal_of

_NAMES = (Path("answer.ndjson"), Path("answer.sse"), Path("answer.txt"))
_QUESTION = Question(model="m", prompt="p", stream=True)


def recording(data: bytes) -> None:
    """A recorded answer can be given again and read in every shape, or the file is refused."""
    (name, seed), body = parted(data, 2)
    try:
        found = parse(body, _NAMES[name % 3])
    except ConfigError:
        return
    assert all(take.after_ms >= 0 for take in found.takes)
    chunks = [chunk for take in found.takes for chunk in take.chunks]
    assert found.error is not None or isinstance(chunks[-1].events[-1], StepEnd)
    assert found.error is None or 400 <= found.error.status < 600
    check_log(log_of(chunks, terminal_of(found.error)), seed)


def mock_recording(data: bytes) -> None:
    """The same for the mock: it keeps the bytes of a stream, and makes a valid one of records."""
    (name,), body = parted(data, 1)
    try:
        found = parse_recording(body, _NAMES[name % 3])
    except ConfigError:
        return
    sent = b"".join(take.frame.data for take in found.takes)
    assert len(sent) <= 400 * (len(found.takes) + 1) + 6 * len(body)
    assert len(found.sha256) == 64
    for steps in (found.steps(Settings()), found.whole(_QUESTION, Settings())):
        *_, last = steps
        assert isinstance(last, End)
    if name % 3 == 0:
        decoder = ChatDecoder("mock", "m")
        for event in SSEDecoder().feed(sent):
            decoder.feed(event.data)
        assert decoder.closed


def tailed(data: bytes) -> None:
    """Whatever a server sends to `headrace tail`: it is printed, or said to be unreadable."""
    (format, place), body = parted(data, 2)
    name: tail.Format = ("text", "native", "openai.chat")[format % 3]
    start = (None, f"n1.{place}", {"text": "t1.", "native": "n1.", "openai.chat": "c1u."}[name] + str(place))[place % 3]
    output = tail._Output(name, tail._cursor(start, name))
    reader = tail._Reader("0" * 32, output)
    try:
        for event in SSEDecoder(max_line_bytes=1 << 20, max_event_bytes=1 << 20).feed(body):
            reader._take(event)
            assert reader._last_event_id.isprintable() and reader._last_event_id.isascii()
    except (HeadraceError, LineTooLong):
        pass
    assert output.summary("running")
    assert tail._cursor(reader.position, name) is not None


def tail_answers(data: bytes) -> None:
    """Whatever else a server answers to `tail` and `cancel`, and whatever is typed."""
    (status,), body = parted(data, 1)
    try:
        connection._status(body)
    except HeadraceError as error:
        assert "\n" not in error.message
    refused = connection._refusal(300 + status, body, "http://127.0.0.1:8000")
    assert connection.printable(refused.message) == refused.message
    text = body.decode("utf-8", "replace")
    for read in (connection.stream_id, connection._checked_url, connection._checked_key):
        try:
            assert read(text).isascii()
        except typer.BadParameter as wrong:
            assert connection.printable(wrong.message) == wrong.message
    with contextlib.suppress(typer.BadParameter):
        tail._cursor(text, "text")
