"""The mock behind `headrace serve`: its text arrives whole, and its faults are never taken for success."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headrace.mock import answer_text
from tests.e2e.asking import text_of
from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, eventually, running, serving

TOKENS = 40


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with running([HEADRACE, "mock", "--tokens", str(TOKENS)], stderr=None) as process:
        yield process.stdout.readline().decode().split()[-1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def before_mock(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    extra = {"OPENAI_BASE_URL": f"{mock}/v1", "OPENAI_API_KEY": "none"}
    with serving(tmp_path_factory.mktemp("mock"), **extra) as server:
        yield server


@pytest.fixture
def client(before_mock: Server, mock: str) -> Iterator[openai.OpenAI]:
    urllib.request.urlopen(f"{mock}/stats/reset", b"", timeout=PATIENCE_S).close()
    with openai.OpenAI(base_url=before_mock.api, api_key="none", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, prompt: str, fault: str, **mock: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": prompt}]
    extra = {"mock": {"fault": fault, **mock}}
    return client.chat.completions.create(model="mock", messages=messages, stream=True, extra_body=extra)


def stats(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/stats", timeout=PATIENCE_S) as response:
        return json.load(response)


@pytest.mark.parametrize("fault", ["", "crlf", "cr", "bom", "comments", "slow-drip:7,0s", "keep-open"])
def test_what_is_only_strange_gives_the_whole_text(client: openai.OpenAI, mock: str, fault: str):
    with ask(client, "tell", fault) as stream:
        assert text_of(stream) == answer_text(0, "tell", TOKENS)
    eventually(lambda: stats(mock)["streams"]["now"] == 0)


@pytest.mark.parametrize(
    "fault",
    ["cut-in-character:5", "cut-in-frame:5", "cut-frames:5,how=reset", "no-terminal:5", "garbage:5", "error-frame:5"],
)
def test_what_is_cut_raises_after_a_beginning_of_the_text(client: openai.OpenAI, fault: str):
    chunks = []
    with pytest.raises(openai.APIError), ask(client, "tell", fault) as stream:
        chunks.extend(stream)
    # The first character of several bytes after the fifth word is in the tenth.
    words = 9 if fault == "cut-in-character:5" else 5
    assert text_of(chunks) == answer_text(0, "tell", words)


@pytest.mark.parametrize(("fault", "status"), [("status:429,retry-after=2", 429), ("status:401", 502)])
def test_a_refusal_before_the_first_frame_is_a_status(client: openai.OpenAI, fault: str, status: int):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "tell", fault)
    assert caught.value.status_code == status


def test_a_stop_reaches_a_mock_that_hangs(client: openai.OpenAI, mock: str):
    with ask(client, "tell", "hang-between-tokens:5") as stream:
        stream_id = stream.response.headers["headrace-stream-id"]
        said = "".join(next(stream).choices[0].delta.content or "" for _ in range(6))
        assert said == answer_text(0, "tell", 5)
        client.post(f"/streams/{stream_id}/cancel", cast_to=object)
        eventually(lambda: stats(mock)["client_closed_after_tokens"] == [5])
