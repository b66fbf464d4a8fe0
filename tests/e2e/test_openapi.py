"""The OpenAPI document against the running server: schemathesis asks what it promises, and what it forbids."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import PATIENCE_S, PROGRAMS, ROOT, Server, command, serving

RECORDING = ROOT / "tests" / "fixtures" / "water.ndjson"
# The mock and a server of models would judge requests themselves; a recording is an instant answer to any.
CONFIG = f"""
model_list:
- model_name: demo
  params: {{model: "replay/{RECORDING}", speed: instant}}
- model_name: "*"
  params: {{model: "replay/{RECORDING}", speed: instant}}
"""
KEY = "alice-s3cret-key"
_OF_OTHERS = "^/v1/(messages|responses)"
PARTS = (f"--include-path-regex={_OF_OTHERS}", f"--exclude-path-regex={_OF_OTHERS}")
"""All operations at once would take longer than a test may."""


def document_of(server: Server, key: str | None = None) -> Any:
    request = urllib.request.Request(f"{server.url}/openapi.json")
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


@pytest.mark.parametrize("part", PARTS)
def test_a_server_without_keys_does_what_its_document_says(part: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--config", configured(tmp_path)) as server:
        options = ("--phases=coverage,fuzzing,stateful", "--max-examples=6")
        assert_kept(server, tmp_path, document_of(server), part, *options)


@pytest.mark.parametrize("part", PARTS)
def test_a_server_with_keys_does_what_its_document_says_and_answers_nobody_else(part: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--config", configured(tmp_path), HEADRACE_API_KEYS=f"alice={KEY}") as server:
        document = document_of(server, KEY)
        assert {} not in document["security"]
        options = ("--phases=coverage", "--header", f"Authorization: Bearer {KEY}")
        assert_kept(server, tmp_path, document, part, *options)


def configured(directory: Path) -> str:
    file = directory / "headrace.yaml"
    file.write_text(CONFIG)
    return str(file)


def assert_kept(server: Server, directory: Path, document: Any, *options: str) -> None:
    """Nothing is found, with the same requests every time."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("default", None)  # it covers every status: each must have a row of its own
    file = directory / "openapi.json"
    file.write_text(json.dumps(document))
    with contextlib.chdir(directory):  # where schemathesis leaves what failed
        run = command(
            *(str(PROGRAMS / "schemathesis"), "--config-file", str(ROOT / "tests" / "e2e" / "schemathesis.toml")),
            *("run", str(file), "--url", server.url, "--seed=1", "--generation-deterministic", "--no-color"),
            *("--continue-on-failure", "--request-timeout=10", *options),
            SCHEMATHESIS_HOOKS="tests.e2e.schemathesis_hooks",
            PYTHONPATH=str(ROOT),
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "test cases" in run.stdout.lower()
