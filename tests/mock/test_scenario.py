from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.mock import MockServer, Settings, parse_faults, read_scenario
from tests.mock.client import ask, question, stats

RULES = """
rules:
  - match: {model: "^gpt", prompt: "(?i)weather"}
    fault: status:401
  - match: {request: 2-3}
    fault: [cut-frames:1, crlf]
  - match: {prompt: once}
    first: 1
    fault: no-done
  - match: {prompt: short}
    settings: {tokens: 2, gap: 0s}
"""


def scenario(directory: Path, text: str):
    path = directory / "faults.yaml"
    path.write_text(text, encoding="utf-8")
    return read_scenario(path)


@pytest.mark.anyio
async def test_the_first_rule_that_fits_decides(tmp_path):
    async with MockServer(Settings(tokens=4), rules=scenario(tmp_path, RULES)) as server:
        assert (await ask(server, {**question("the Weather"), "model": "gpt-4"})).status == 401
        for _ in range(2):
            cut = await ask(server, question())
            assert not cut.whole
            assert b"\r\n" in cut.body
        assert b"DONE" not in (await ask(server, question("once"))).body
        assert b"DONE" in (await ask(server, question("once"))).body
        assert len((await ask(server, question("short"))).text.split()) == 2
        assert (await ask(server, question("the weather"))).status == 200
        assert server.stats.faults == {"status": 1, "cut-frames": 2, "crlf": 2, "no-done": 1}


@pytest.mark.anyio
async def test_chance_is_the_same_for_the_same_seed(tmp_path):
    async def met(seed: int) -> list[bool]:
        rules = scenario(tmp_path, "- {fault: no-done, probability: 0.5}")
        async with MockServer(Settings(tokens=1, seed=seed), rules=rules) as server:
            return [b"DONE" not in (await ask(server, question())).body for _ in range(24)]

    first = await met(1)
    assert first == await met(1)
    assert first != await met(2)
    assert {*first} == {True, False}


@pytest.mark.anyio
async def test_a_reset_begins_the_counting_anew():
    async with MockServer(Settings(tokens=1), parse_faults("status:503,first=1")) as server:
        assert [(await ask(server, question())).status for _ in range(2)] == [503, 200]
        await ask(server, method="POST", path="/stats/reset")
        assert (await stats(server))["requests"] == 0
        assert [(await ask(server, question())).status for _ in range(2)] == [503, 200]


@pytest.mark.anyio
async def test_the_first_k_of_a_requests_own_fault_are_counted_for_each_prompt():
    own = {"fault": "status:503,first=1"}
    async with MockServer(Settings(tokens=1)) as server:
        found = [(await ask(server, question(prompt, mock=own))).status for prompt in ("a", "b", "a", "b")]
    assert found == [503, 503, 200, 200]


@pytest.mark.anyio
async def test_the_first_connections_can_be_refused():
    async with MockServer(Settings(tokens=1), parse_faults("refuse:first=2")) as server:
        replies = [await ask(server, question()) for _ in range(3)]
    assert [reply.reset for reply in replies] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [{fault: cut-byte}]", "rule 1: There is no fault 'cut-byte': did you mean cut-bytes"),
        ("- {fault: crlf}\n- {match: {prompt: '('}}", "rule 2: "),
        ("- {match: {modell: x}}", "unknown field `modell`"),
        ("- {match: {request: 0}}", "rules"),
        ("- {settings: {gap: often}}", "rule 1: expected a duration"),
        ("a: [", "is no YAML"),
        ("[" * 2000, "is no YAML"),
        ('- !!int ""', "is no YAML"),
        ("- {match: {prompt: '" + "(" * 2000 + "'}}", "rule 1"),
        ("", "Expected `object`"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_said(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        scenario(tmp_path, text)
    assert words in str(caught.value)


def test_a_scenario_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_scenario(tmp_path / "no.yaml")
