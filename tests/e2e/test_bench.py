"""`headrace bench` as a process: against the mock, and against `headrace serve` in every shape that it serves."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, command, environment, eventually, running, serving

TOKENS = 20


@contextlib.contextmanager
def mocking(*options: str) -> Iterator[str]:
    with running([HEADRACE, "mock", "--tokens", str(TOKENS), *options], stderr=None) as process:
        yield process.stdout.readline().decode().split()[-1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with mocking() as url:
        yield url


@pytest.fixture(scope="module")
def before_mock(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    extra = {"OPENAI_BASE_URL": f"{mock}/v1", "OPENAI_API_KEY": "none"}
    with serving(tmp_path_factory.mktemp("bench"), **extra) as server:
        yield server


def bench(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return command(HEADRACE, "bench", *arguments, COLUMNS="100", **extra)


def document(*arguments: str, **extra: str) -> Any:
    done = bench(*arguments, "--json", "-", **extra)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result(*arguments: str, **extra: str) -> Any:
    (found,) = document(*arguments, **extra)["results"]
    return found


def test_a_run_shows_a_table_and_writes_what_was_asked_for(mock: str, tmp_path: Path):
    files = ["--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    saved = ["--save-result", "--result-dir", str(tmp_path), "--result-filename", "b.json"]
    done = bench("--url", mock, "--num-prompts", "30", *files, *saved)
    assert done.returncode == 0
    assert "TTFT ms" in done.stdout and "req/s" in done.stdout
    found = json.loads((tmp_path / "a.json").read_text())
    assert found == json.loads((tmp_path / "b.json").read_text())
    (series,) = found["results"]
    assert (series["completed"], series["failed"], series["total_output_tokens"]) == (30, 0, 30 * TOKENS)
    assert series["model_id"] == "mock"
    assert found["client"]["loop"] in ("uvloop", "asyncio")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_a_saved_result_has_a_name_of_its_own(mock: str, tmp_path: Path):
    done = bench("--url", mock, "--num-prompts", "2", "--save-result", "--result-dir", str(tmp_path))
    assert done.returncode == 0
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("openai.chat-infqps-mock-")


def test_a_place_that_cannot_be_written_to_loses_nothing_of_the_rest(mock: str, tmp_path: Path):
    done = bench("--url", mock, "--num-prompts", "2", "--json", "/nonexistent/a", "--html", str(tmp_path / "a.html"))
    assert done.returncode == 0
    assert "/nonexistent/a cannot be written" in done.stderr
    assert (tmp_path / "a.html").exists()


def test_targets_models_and_a_sweep_are_series_of_one_run(mock: str):
    arguments = ["--target", f"a={mock}", "--target", f"b={mock}/v1", "--model", "x", "--model", "y"]
    found = document(*arguments, "--max-concurrency", "1,3", "--num-prompts", "4", "--rounds", "2", "--warmup", "1")
    keys = [(each["target"], each["model_id"], each["max_concurrency"]) for each in found["results"]]
    assert keys == [(target, model, level) for target in "ab" for model in "xy" for level in (1, 3)]
    assert all(each["completed"] == 4 for each in found["results"])


def test_an_open_load_with_limits_counts_good_requests(mock: str):
    arguments = ["--request-rate", "200", "--num-prompts", "20", "--goodput", "ttft:60000", "e2el:60000"]
    found = result("--url", mock, *arguments)
    assert found["request_goodput"] == found["request_throughput"]
    assert found["mean_client_queue_time_ms"] is not None


def test_a_file_of_prompts_is_asked(mock: str, tmp_path: Path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "one two three", "output_tokens": 5}\n{"prompt": "four five six"}\n')
    found = result("--url", mock, "--dataset-path", str(tmp_path / "p.jsonl"), "--num-prompts", "4")
    assert (found["total_input_tokens"], found["total_output_tokens"]) == (12, 2 * (5 + TOKENS))


def test_failures_are_told_by_their_kind(tmp_path: Path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n  - match: {request: 1-2}\n    fault: no-done\n  - match: {request: 5-7}\n    fault: status:503\n"
    )
    with mocking("--scenario", str(rules)) as url:
        found = result("--url", url, "--num-prompts", "20")
    assert {kind: each["count"] for kind, each in found["errors"].items()} == {"http_503": 3, "incomplete": 2}
    assert (found["completed"], found["failed"], found["incomplete"]) == (15, 5, 2)


def test_a_wrong_key_is_said_once_and_1():
    with mocking("--fault", "status:401") as url:
        done = bench("--url", url, "--model", "m", "--num-prompts", "10000")
    assert done.returncode == 1
    assert done.stdout.count("http_401") == 1


def test_a_server_that_is_not_there_is_one_line_and_1():
    done = bench("--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "is the server running" in done.stderr


def test_what_became_slower_is_a_regression_and_3(mock: str, tmp_path: Path):
    old = str(tmp_path / "old.json")
    assert bench("--url", mock, "--num-prompts", "60", "--json", old).returncode == 0
    with mocking("--ttft", "300ms") as slow:
        arguments = ["--url", slow, "--num-prompts", "60", "--compare", old]
        done = bench(*arguments)
        assert (done.returncode, "worse" in done.stdout) == (0, True)
        assert bench(*arguments, "--fail-on-regression").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_what_there_is_is_reported(number: signal.Signals, tmp_path: Path):
    path = tmp_path / "a.json"
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - match: {request: 4-1000}\n    fault: hang-between-tokens:3\n")
    with mocking("--scenario", str(rules)) as url:
        arguments = [HEADRACE, "bench", "--url", url, "--max-concurrency", "2", "--json", str(path)]
        with subprocess.Popen(
            arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            _wait_for_hanging(url)
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    found = json.loads(path.read_text())
    assert found["interrupted"]
    assert (found["results"][0]["completed"], found["results"][0]["aborted"]) == (3, 2)
    assert "2 × stopped" in out
    assert "Traceback" not in err


def _wait_for_hanging(url: str) -> None:
    def hanging() -> bool:
        with urllib.request.urlopen(f"{url}/stats", timeout=PATIENCE_S) as response:
            found = json.load(response)
        return found["requests"] == 5 and found["faults"].get("hang-between-tokens") == 2

    eventually(hanging)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--shape", "openai.chat", "--model", "mock"],
        ["--shape", "native", "--model", "mock"],
        ["--shape", "sse", "--end-marker", "[DONE]", "--text-path", "choices.0.delta.content"],
        ["--shape", "sse"],
    ],
    ids=["openai.chat", "native", "sse with an end", "sse of text"],
)
def test_a_headrace_is_measured_in_its_shapes(before_mock: Server, arguments: list[str]):
    url = before_mock.url
    if "sse" in arguments:
        format = "openai.chat" if "--end-marker" in arguments else "text"
        url += f"/stream?model=mock&format={format}&prompt={{{{prompt}}}}"
    found = result("--url", url, "--num-prompts", "20", *arguments)
    assert (found["completed"], found["failed"]) == (20, 0)
    assert found["total_output_tokens"] >= 20
    if "sse" not in arguments:
        assert found["usage_reported"] == 20
        assert found["total_output_tokens"] == 20 * TOKENS
        assert found["median_tpot_ms"] is not None


def test_the_embedded_model_is_measured_without_saying_its_name(embedded: Server):
    found = result("--num-prompts", "3", "--output-len", "8", "--max-concurrency", "2", HEADRACE_URL=embedded.url)
    assert found["model_id"] == "smollm2-135m"
    assert (found["completed"], found["usage_reported"]) == (3, 3)
    assert 3 <= found["total_output_tokens"] <= 24


def test_a_key_reaches_the_server_and_no_document(tmp_path: Path, mock: str):
    extra = {"OPENAI_BASE_URL": f"{mock}/v1", "OPENAI_API_KEY": "none", "HEADRACE_API_KEYS": "secret-1"}
    with serving(tmp_path, **extra) as server:
        arguments = ["--url", server.url, "--model", "mock", "--num-prompts", "3"]
        refused = bench(*arguments)
        assert (refused.returncode, "http_401" in refused.stdout) == (1, True)
        done = bench(*arguments, "--json", "-", OPENAI_API_KEY="secret-1")
        assert done.returncode == 0
        assert "secret-1" not in done.stdout + done.stderr
        for variable, shape, code in (("HEADRACE_API_KEY", "native", 0), ("OPENAI_API_KEY", "native", 1)):
            assert bench(*arguments, "--shape", shape, **{variable: "secret-1"}).returncode == code
