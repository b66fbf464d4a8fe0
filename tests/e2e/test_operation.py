"""What an operator sees of a real server: one JSON line per stream on stderr, and numbers that agree with the lines."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, eventually, running, serving
from tests.e2e.raw import Exchange
from tests.telemetry.exposition import Samples, samples_of, value

TOKENS = 12
PROMPT = "my-private-question"


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with running([HEADRACE, "mock", "--tokens", str(TOKENS)], stderr=None) as process:
        yield process.stdout.readline().decode().split()[-1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def before(mock: str, directory: Path, *options: str):
    return serving(
        directory, *options, OPENAI_BASE_URL=f"{mock}/v1", OPENAI_API_KEY="sk-operator", HEADRACE_RETRIES="0"
    )


def ask(server: Server, request_id: str, fault: str = "none", **fields: Any) -> Exchange:
    body = {"model": "mock", "messages": [{"role": "user", "content": PROMPT}], "mock": {"fault": fault}, **fields}
    return Exchange(f"{server.api}/chat/completions", "POST", body, {"X-Request-Id": request_id})


def cut_resumed_and_stopped(server: Server, request_id: str) -> str:
    """A stream that hangs after five words: read, cut, resumed, stopped."""
    with ask(server, request_id, "hang-between-tokens:5", stream=True) as posted:
        posted.until(lambda body: body.count(b"data:") >= 3)
        stream_id = posted.headers["headrace-stream-id"]
        with Exchange(
            f"{server.api}/chat/completions/{stream_id}?skip=3", headers={"Accept": "text/event-stream"}
        ) as resumed:
            resumed.until(lambda body: b"data:" in body)
            posted.reset()
            with Exchange(f"{server.api}/streams/{stream_id}/cancel", "POST") as stopped:
                assert stopped.json()["state"] == "cancelled"
            resumed.rest()
    return stream_id


def ended(server: Server, count: int) -> list[dict[str, Any]]:
    eventually(lambda: len(server.lines) == count)
    return server.lines


def metrics(server: Server) -> Samples:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=PATIENCE_S) as response:
        assert response.headers["X-Request-Id"]
        return samples_of(text_string_to_metric_families(response.read().decode()))


@pytest.mark.promise("P26", "P27", "P36")
def test_every_stream_is_one_line_and_the_metrics_agree(mock: str, tmp_path: Path):
    with before(mock, tmp_path) as server:
        with ask(server, "finished", stream=True) as finished:
            finished.rest()
            assert finished.headers["x-request-id"] == "finished"
        ended(server, 1)
        with ask(server, "whole") as whole:
            assert whole.json()["usage"]["completion_tokens"] == TOKENS
        ended(server, 2)
        with ask(server, "failed", "cut-frames:5,how=reset", stream=True) as failed:
            failed.rest()
        ended(server, 3)
        stopped = cut_resumed_and_stopped(server, "stopped")
        lines = ended(server, 4)
        samples = metrics(server)
        output = server.output
    assert [line["request_id"] for line in lines] == ["finished", "whole", "failed", "stopped"]
    assert [line["id"] for line in lines] == [
        *(each.headers["headrace-stream-id"] for each in (finished, whole, failed)),
        stopped,
    ]
    outcomes = [("finished", "stop"), ("finished", "stop"), ("failed", "upstream_incomplete"), ("cancelled", "client")]
    assert [(line["status"], line["code"]) for line in lines] == outcomes
    assert [line["level"] for line in lines] == ["info", "info", "warning", "info"]
    assert [line["usage_source"] for line in lines] == ["provider", "provider", "partial", "partial"]
    assert [line["output_tokens"] for line in lines[:2]] == [TOKENS, TOKENS]
    assert [(line["readers"], line["resumes"]) for line in lines] == [(1, 0), (1, 0), (1, 0), (2, 1)]
    for line in lines:
        assert 0 < line["ttft_ms"] <= line["duration_ms"]
        assert (line["model"], line["owner"], line["upstream"]) == ("mock", "anonymous", "openai/mock")
        assert line["output_tokens"] > 0 and line["input_tokens"] > 0 and line["bytes"] > 0
    assert PROMPT not in output and "sk-operator" not in output
    labels = {"model": "*", "provider": "openai"}
    for state, code in set(outcomes):
        told = value(samples, "headrace_streams_ended_total", state=state, code=code, **labels)
        assert told == outcomes.count((state, code))
    for source in ("provider", "partial"):
        told = value(samples, "headrace_generation_tokens_total", source=source, **labels)
        assert told == sum(line["output_tokens"] for line in lines if line["usage_source"] == source)
    assert value(samples, "headrace_time_to_first_token_seconds_count", **labels) == 4
    assert value(samples, "headrace_upstream_cancel_seconds_count", **labels) == 1
    assert value(samples, "headrace_stream_resumes_total") == 1
    assert value(samples, "headrace_streams_active") == value(samples, "headrace_stream_readers") == 0


@pytest.mark.promise("P36")
def test_at_the_level_warning_only_failures_have_a_line_and_content_is_there_if_wanted(mock: str, tmp_path: Path):
    config = tmp_path / "headrace.yaml"
    config.write_text("log_content: true\n")
    with before(mock, tmp_path, "--log-level", "warning", "--config", str(config)) as server:
        for request_id, fault in (
            ("finished", "none"),
            ("failed", "cut-frames:5,how=reset"),
            ("last", "no-terminal:5"),
        ):
            with ask(server, request_id, fault, stream=True) as exchange:
                exchange.rest()
        lines = ended(server, 2)
        assert "INFO" not in server.output
    assert [line["request_id"] for line in lines] == ["failed", "last"]
    for line in lines:
        assert line["level"] == "warning"
        assert PROMPT in line["request"] and len(line["answer"].split()) == 5
        assert line["message"]
