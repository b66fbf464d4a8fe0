"""Background Responses, cut anywhere, by OpenAI's own client: nothing is lost and nothing comes twice (P4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headrace.mock import answer_text
from tests.e2e.clients import in_a_loop
from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, running, serving

WORDS = 12
PROMPT = "think of a river"
SCENARIO = """
rules:
  - {match: {prompt: think}, settings: {reasoning: 3, tool-calls: 1}}
  - {match: {prompt: slowly}, settings: {gap: 20ms}}
  - {match: {prompt: for ever}, settings: {gap: 20ms, tokens: 4000}}
"""
protocols = pytest.mark.parametrize("model", ["chat", "responses", "messages"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace before a mock in three protocols, with a heartbeat every 50 ms."""
    folder = tmp_path_factory.mktemp("background")
    (folder / "scenario.yaml").write_text(SCENARIO)
    options = ["--tokens", str(WORDS), "--scenario", str(folder / "scenario.yaml")]
    with running([HEADRACE, "mock", *options], stderr=None) as process:
        base = process.stdout.readline().decode().split()[-1]
        params = {
            "chat": {"model": "openai/up", "base_url": f"{base}/v1"},
            "responses": {"model": "openai/up", "api": "responses", "base_url": f"{base}/v1"},
            "messages": {"model": "anthropic/up", "base_url": base},
        }
        models = [{"model_name": name, "params": {**each, "api_key": "none"}} for name, each in params.items()]
        (folder / "headrace.yaml").write_text(json.dumps({"model_list": models, "keepalive_seconds": 0.05}))
        with serving(folder, "--config", str(folder / "headrace.yaml")) as served:
            yield served
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        yield client


def plain(events: Any) -> list[dict[str, Any]]:
    return [event.to_dict(mode="json") for event in events]


@pytest.mark.promise("P4", "P9")
@protocols
def test_a_background_answer_is_cut_at_every_event_and_goes_on_exactly(client: openai.OpenAI, model: str) -> None:
    with client.responses.create(model=model, input=PROMPT, background=True, stream=True) as stream:
        whole = plain(stream)
    response_id = whole[0]["response"]["id"]
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert whole[-1]["type"] == "response.completed"
    said = [event["delta"] for event in whole if event["type"] == "response.output_text.delta"]
    assert "".join(said) == answer_text(0, PROMPT, WORDS)
    for place in range(len(whole)):
        with client.responses.retrieve(response_id, stream=True, starting_after=place) as rest:
            assert plain(rest) == whole[place + 1 :], f"resumed after {place}"
    with client.responses.retrieve(response_id, stream=True) as again:
        assert plain(again) == whole


@pytest.mark.promise("P2", "P4", "P8")
@protocols
def test_a_reader_that_is_cut_after_every_event_while_the_model_writes_misses_nothing(
    client: openai.OpenAI, model: str
) -> None:
    prompt = f"slowly, {model}"
    with client.responses.create(model=model, input=prompt, background=True, stream=True) as stream:
        got: list[dict[str, Any]] = [next(iter(stream)).to_dict(mode="json")]
    response_id = got[0]["response"]["id"]
    while got[-1]["type"] != "response.completed":
        after = int(got[-1]["sequence_number"])
        with client.responses.retrieve(response_id, stream=True, starting_after=after) as rest:
            got.append(next(iter(rest)).to_dict(mode="json"))
    assert [event["sequence_number"] for event in got] == list(range(len(got)))
    with client.responses.retrieve(response_id, stream=True) as again:
        assert plain(again) == got
    answer = client.responses.retrieve(response_id)
    assert (answer.status, answer.output_text) == ("completed", answer_text(0, prompt, WORDS))


@pytest.mark.promise("P4", "P9")
@protocols
def test_the_clients_helper_goes_on_while_the_model_writes_and_after_the_end(server: Server, model: str) -> None:
    prompt = f"slowly again, {model}"

    async def followed(client: openai.AsyncOpenAI, response_id: str, after: int) -> tuple[list[int], str]:
        async with client.responses.stream(response_id=response_id, starting_after=after) as stream:
            numbers = [event.sequence_number async for event in stream]
            return numbers, (await stream.get_final_response()).output_text

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
            made = await client.responses.create(model=model, input=prompt, background=True)
            assert made.status in ("queued", "in_progress")
            live = await followed(client, made.id, 1)
            late = await followed(client, made.id, 1)
        assert live == late
        assert live[0] == list(range(2, 2 + len(live[0])))
        assert live[1] == answer_text(0, prompt, WORDS)

    in_a_loop(run)


@pytest.mark.promise("P7")
@protocols
def test_a_background_answer_is_stopped_by_its_id_and_says_so(client: openai.OpenAI, model: str) -> None:
    made = client.responses.create(model=model, input="for ever", background=True, max_output_tokens=4096)
    with client.responses.retrieve(made.id, stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
        stopped = client.responses.cancel(made.id)
        rest = plain(stream)
    assert stopped.status == "cancelled"
    assert rest[-1]["type"] == "response.incomplete"
    assert rest[-1]["response"]["incomplete_details"] == {"reason": "cancelled"}
    again = client.responses.retrieve(made.id)
    assert again.status == "cancelled" and again.output_text
    assert client.responses.cancel(made.id).status == "cancelled"
