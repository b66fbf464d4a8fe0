from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from headrace.cli import main
from headrace.mock import read_scenario
from headrace.mock.faults import KINDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "mock.md"


def test_the_help_lists_every_fault_with_its_line_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["mock", "--help"]) == 0
    faults, _, examples = capsys.readouterr().out.partition(" Faults ")[2].partition("Examples")
    lines = [" ".join(line.split()) for line in faults.splitlines() if line.strip()]
    assert lines == [f"{name} {kind.summary}" for name, kind in KINDS.items()]
    assert all("headrace mock" in line for line in examples.strip().splitlines())


def test_the_document_has_every_fault():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in KINDS if f"`{name}" not in text] == []


def test_the_documents_scenario_is_right(tmp_path):
    example = DOCUMENT.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "faults.yaml").write_text(example, encoding="utf-8")
    assert len(read_scenario(tmp_path / "faults.yaml")) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "cut-byte"], "did you mean cut-bytes?"),
        (["--gap", "soon"], "expected a duration"),
        (["--gap", "1", "--gap-dist", "exp:1"], "one of the two"),
        (["--gap-dist", "poisson:1"], "exp:MEAN"),
        (["--scenario", "/nonexistent.yaml"], "cannot be read"),
        (["--replay", "/nonexistent.sse"], "cannot be read"),
        (["--tokens", "-1"], "--tokens"),
    ],
)
def test_wrong_usage_is_said_and_2(capsys, arguments, words):
    assert main(["mock", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_a_signal_ends_it_at_once_with_0(number):
    program = "import sys; from headrace.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = [sys.executable, "-c", program, "mock", "--fault", "hang-before-first-token"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().split()[-1]
        assert process.stdout.readline() == f"OPENAI_BASE_URL={url}/v1\n"
        assert process.stdout.readline() == f"ANTHROPIC_BASE_URL={url}\n"
        body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
        with urllib.request.urlopen(f"{url}/v1/chat/completions", body, timeout=20) as response:
            assert response.status == 200
            process.send_signal(number)
            assert process.wait(20) == 0
        assert process.stderr.read() == ""
