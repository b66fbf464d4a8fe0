"""`headrace serve`, `tail` and `cancel` as processes, against each other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from headrace.cli import main; raise SystemExit(main())"]
# Without it every answer is over before a second process has started.
SLOW_TOKENS = 400


def environment(**extra: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HEADRACE_") and name not in ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    }
    return kept | extra


def command(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(**extra), capture_output=True, text=True, timeout=40, check=False
    )


class Server:
    """A running `headrace serve` and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.greeting = ""
        assert process.stdout is not None
        for line in process.stdout:
            self.greeting += line
            if line.startswith("Ctrl-C"):
                break
        if "listens on" not in self.greeting:
            process.wait(10)
            assert process.stderr is not None
            pytest.fail(f"serve did not start:\n{self.greeting}{process.stderr.read()}")
        self.url = self.greeting.partition("listens on ")[2].split()[0]

    @property
    def curl(self) -> str:
        return next(line.strip() for line in self.greeting.splitlines() if line.startswith("  curl"))

    def create(self, max_tokens: int = 24, **headers: str) -> str:
        body = {
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": "Tell me a long story about a river."}],
            "settings": {"max_tokens": max_tokens},
        }
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}/v1/streams", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)["id"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what was logged beside the lines of ended streams."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=20)
        lines = err.splitlines(keepends=True)
        return self.process.returncode, "".join(line for line in lines if not line.startswith('{"time"'))


@contextlib.contextmanager
def serving(*options: str, **extra: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *options],
        env=environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Server(process)
        finally:
            if process.poll() is None:
                process.kill()


def test_the_printed_curl_line_works_and_sigterm_ends_with_0():
    with serving() as server:
        assert "135M demo model, facts are often wrong" in server.greeting
        answer = subprocess.run(["sh", "-c", server.curl], capture_output=True, text=True, timeout=40, check=True)
        assert answer.stdout.startswith('data: {"id":"chatcmpl-')
        assert answer.stdout.endswith("data: [DONE]\n\n")
        code, err = server.stop()
    assert code == 0
    assert "Traceback" not in err


def test_the_curl_line_of_a_server_with_keys_takes_the_key_from_the_environment():
    with serving(HEADRACE_API_KEYS="alice=sesame-123") as server:
        assert "sesame" not in server.greeting
        line = server.curl.replace("curl ", "curl -s -o /dev/null -w '%{http_code}' ", 1)
        for key, status in (("sesame-123", b"200"), ("", b"401")):
            shell = environment(HEADRACE_API_KEY=key)
            assert subprocess.check_output(["sh", "-c", line], env=shell, timeout=40) == status
        assert server.stop(signal.SIGINT)[0] == 0


@pytest.mark.promise("P9")
def test_tail_gives_the_same_text_during_and_after_the_stream():
    with serving(HEADRACE_API_KEYS="alice=sesame-123") as server:
        stream = server.create(Authorization="Bearer sesame-123")
        access = {"HEADRACE_URL": server.url, "HEADRACE_API_KEY": "sesame-123"}
        during = command("tail", stream, "-v", **access)
        after = command("tail", f"chatcmpl-{stream}", **access)
        foreign = command("tail", stream, HEADRACE_URL=server.url)
    assert during.returncode == after.returncode == 0, during.stderr
    assert during.stdout == after.stdout != ""
    assert during.stderr.startswith("headrace: finished (")
    assert after.stderr == ""
    assert foreign.returncode == 1
    assert "HEADRACE_API_KEY" in foreign.stderr


@pytest.mark.promise("P7")
def test_cancel_from_another_process_ends_the_tail_with_3_and_leaves_the_text():
    with serving() as server:
        stream = server.create(SLOW_TOKENS)
        reader = subprocess.Popen(
            [*COMMAND, "tail", stream, "--url", server.url], env=environment(), stdout=subprocess.PIPE, text=True
        )
        with reader:
            assert reader.stdout is not None
            first = reader.stdout.read(1)
            cancelled = command("cancel", stream, "--url", server.url)
            again = command("cancel", f"chatcmpl-{stream}", "--url", server.url)
            rest = reader.stdout.read()
            assert reader.wait(10) == 3
        later = command("tail", stream, "--url", server.url)
        unknown = command("cancel", "0" * 32, "--url", server.url)
        events = f"{server.url}/v1/streams/{stream}/events?format=openai.chat"
        aborted = subprocess.run(
            ["curl", "-sN", events, "-H", "Accept: text/event-stream"], capture_output=True, timeout=20
        )
        code, log = server.stop()
    assert (cancelled.returncode, cancelled.stdout) == (again.returncode, again.stdout) == (0, "cancelled\n")
    assert (later.returncode, later.stdout) == (3, first + rest)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "Traceback" not in unknown.stderr
    assert aborted.returncode == 18  # the body was not whole, which is meant and so not logged
    assert (code, log) == (0, "")


def test_a_reader_sees_the_end_of_its_stream_when_the_server_is_stopped():
    with serving(HEADRACE_DRAIN_TIMEOUT="0") as server:
        stream = server.create(SLOW_TOKENS)
        reader = subprocess.Popen(
            [*COMMAND, "tail", stream, "--url", server.url, "-v"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with reader:
            assert reader.stdout is not None
            reader.stdout.read(1)
            code, err = server.stop()
            _, said = reader.communicate(timeout=20)
    assert code == 0, err
    assert reader.returncode == 1
    assert "the stream failed: The server stopped" in said
    assert "trying again" not in said  # the terminal record came on the connection, not a cut


def test_a_running_stream_may_end_within_the_drain_timeout():
    with serving() as server:
        stream = server.create(60)
        reader = subprocess.Popen(
            [*COMMAND, "tail", stream, "--url", server.url], env=environment(), stdout=subprocess.PIPE, text=True
        )
        with reader:
            assert reader.stdout is not None
            reader.stdout.read(1)
            assert server.stop()[0] == 0
            assert reader.wait(20) == 0


def test_a_port_that_is_taken_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        found = command("serve", "--port", port, OPENAI_API_KEY="sk-123")
    assert found.returncode == 1
    assert found.stderr == (
        f"headrace: port {port} on 127.0.0.1 is taken: stop what listens there, or choose another --port\n"
    )


@pytest.mark.promise("P33")
def test_another_host_without_keys_is_refused_unless_it_is_meant():
    refused = command("serve", "--host", "0.0.0.0", "--port", "0", OPENAI_API_KEY="sk-123")
    assert refused.returncode == 2
    assert "--no-auth" in refused.stderr
    assert "Traceback" not in refused.stderr
    with serving("--host", "0.0.0.0", "--no-auth", OPENAI_API_KEY="sk-123") as server:
        assert "EVERYBODY" in server.greeting
        assert server.stop()[0] == 0


@pytest.mark.promise("P33")
def test_without_keys_only_loopback_is_bound():
    with serving(OPENAI_API_KEY="sk-123") as server:
        assert server.url.startswith("http://127.0.0.1:")


def test_a_wrong_configuration_is_said_with_its_line(tmp_path: Path):
    path = tmp_path / "headrace.yaml"
    path.write_text("port: many\nlog_lvl: info\n")
    found = command("serve", "--config", str(path))
    assert found.returncode == 2
    assert f"{path}:1:7: port" in found.stderr
    assert "log_level" in found.stderr
    assert "Traceback" not in found.stderr
    missing = command("serve", "--config", str(tmp_path / "none.yaml"))
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        ("ExceptionGroup('', [ConfigError('it is broken: mend it')])", 2, 1),
        ("UpstreamUnavailable('nobody is there')", 1, 1),
        ("ValueError('a defect')", 1, None),
    ],
)
def test_an_application_that_does_not_start_says_why(error: str, code: int, lines: int | None):
    program = f"""
import contextlib
from fastapi import FastAPI
from headrace.cli import main, server
from headrace.errors import ConfigError, UpstreamUnavailable

@contextlib.asynccontextmanager
async def lifespan(app):
    raise {error}
    yield

server.create_app = lambda config, **_: FastAPI(lifespan=lifespan)
raise SystemExit(main(["serve", "--port", "0"]))
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(OPENAI_API_KEY="sk-123"),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (found.returncode, found.stdout) == (code, "")
    assert "Application startup failed" not in found.stderr
    if lines:
        assert len(found.stderr.splitlines()) == lines
        assert found.stderr.startswith("headrace: ")
    else:
        assert "a defect" in found.stderr


def test_a_missing_embedded_model_is_said_with_the_command_that_brings_it():
    # An empty entry in sys.modules makes find_spec say that there is no such package.
    hidden = "import sys; sys.modules['xllamacpp'] = None; " + COMMAND[-1]
    found = subprocess.run(
        [sys.executable, "-c", hidden, "serve"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert found.returncode == 2
    assert "scripts/install --model" in found.stderr
    assert "Traceback" not in found.stderr
