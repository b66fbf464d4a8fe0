"""One line of JSON per stream, with every field that the manual lists and nothing that was said unless it may be."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.engine.observer import Content, Ended, Source
from headrace.events import Cancelled, Failed, Finished, StreamStart, Terminal, Usage
from headrace.telemetry.stream_log import LOGGER, StreamLog

ENDED = Ended(
    start=StreamStart("0" * 32, "alice", 1, "gpt-4o", "openai.chat", meta={"note": "my-private-note"}),
    source=Source("gpt-*", "openai"),
    upstream_model="gpt-4o-2026",
    request_id="request-1",
    terminal=Finished("stop"),
    at=1795259691.2909,
    duration=2.0000004,
    ttft=0.12345,
    usage=Usage(30, 20, 10, 5),
    retries=1,
    readers=3,
    resumes=2,
    records=40,
    bytes=9000,
)
FAILED = Failed("upstream_rejected", "You asked: my-private-question", status=422)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """At the default level."""
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


def logged(log: pytest.LogCaptureFixture) -> dict[str, Any]:
    (record,) = log.records
    line = record.getMessage()
    assert line.isascii() and len(line.splitlines()) == 1
    return json.loads(line)


def test_the_line_has_every_field(log: pytest.LogCaptureFixture) -> None:
    StreamLog().ended(ENDED)
    assert logged(log) == {
        "time": "2026-11-21T11:14:51.290Z",
        "level": "info",
        "event": "stream",
        "id": "0" * 32,
        "request_id": "request-1",
        "owner": "alice",
        "model": "gpt-4o",
        "dialect": "openai.chat",
        "upstream": "openai/gpt-4o-2026",
        "status": "finished",
        "code": "stop",
        "ttft_ms": 123.45,
        "duration_ms": 2000.0,
        "input_tokens": 30,
        "output_tokens": 20,
        "cached_tokens": 10,
        "reasoning_tokens": 5,
        "usage_source": "provider",
        "retries": 1,
        "readers": 3,
        "resumes": 2,
        "records": 40,
        "bytes": 9000,
    }


@pytest.mark.parametrize(
    ("terminal", "level", "status", "code"),
    [
        (Finished("length"), "info", "finished", "length"),
        (Cancelled("client"), "info", "cancelled", "client"),
        (FAILED, "warning", "failed", "upstream_rejected"),
        (Finished("x" * 65), "info", "finished", "other"),
        (Finished("I wrote: my secret"), "info", "finished", "other"),
        (Failed("", "x"), "warning", "failed", "other"),
    ],
)
def test_a_failure_is_a_warning(
    log: pytest.LogCaptureFixture, terminal: Terminal, level: str, status: str, code: str
) -> None:
    StreamLog().ended(msgspec.structs.replace(ENDED, terminal=terminal))
    line = logged(log)
    assert (line["level"], line["status"], line["code"]) == (level, status, code)
    assert log.records[0].levelname == level.upper()


def test_at_the_level_warning_only_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, LOGGER)
    for terminal in (Finished("stop"), Cancelled("client"), FAILED):
        StreamLog().ended(msgspec.structs.replace(ENDED, terminal=terminal))
    assert logged(caplog)["status"] == "failed"


def test_what_there_was_none_of_is_null(log: pytest.LogCaptureFixture) -> None:
    StreamLog().ended(msgspec.structs.replace(ENDED, ttft=None, request_id=None, bytes=None))
    line = logged(log)
    assert (line["ttft_ms"], line["request_id"], line["bytes"]) == (None, None, None)


@pytest.mark.promise("P36")
def test_nothing_that_was_said_is_in_the_line(log: pytest.LogCaptureFixture) -> None:
    StreamLog().ended(msgspec.structs.replace(ENDED, terminal=FAILED))
    assert "my-private" not in log.records[0].getMessage()
    assert not {"message", "request", "answer"} & logged(log).keys()


@pytest.mark.promise("P36")
def test_with_content_request_answer_and_message_are_in_the_line(log: pytest.LogCaptureFixture) -> None:
    content = Content('{"model": "süß"}'.encode(), "line one\nline two\u2028\u0085🌊")
    StreamLog().ended(msgspec.structs.replace(ENDED, content=content, terminal=FAILED))
    line = logged(log)
    assert line["request"] == '{"model": "süß"}'
    assert line["answer"] == content.answer
    assert line["message"] == "You asked: my-private-question"


def test_a_finished_stream_has_no_message(log: pytest.LogCaptureFixture) -> None:
    StreamLog().ended(msgspec.structs.replace(ENDED, content=Content(b"", "")))
    assert logged(log)["message"] is None


@pytest.mark.parametrize("character", ["a", "ü", "水", "🌊", "\ud800"])
def test_content_is_cut_and_never_in_the_middle_of_a_character(log: pytest.LogCaptureFixture, character: str) -> None:
    text = character * 70_000
    content = Content(text.encode("utf-8", "replace"), text)
    StreamLog().ended(msgspec.structs.replace(ENDED, content=content))
    line = logged(log)
    assert line["answer"] == character * 65_536
    assert line["request"] == (character if character.isprintable() else "?") * 65_536


def test_a_request_that_is_no_text_is_shown_as_far_as_it_is(log: pytest.LogCaptureFixture) -> None:
    StreamLog().ended(msgspec.structs.replace(ENDED, content=Content(b"a\xffb", "")))
    assert logged(log)["request"] == "a\ufffdb"


def test_the_manual_lists_every_field_in_order(log: pytest.LogCaptureFixture) -> None:
    StreamLog().ended(msgspec.structs.replace(ENDED, content=Content(b"", "")))
    manual = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    section = manual.partition("## One line per stream")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] == list(logged(log))
