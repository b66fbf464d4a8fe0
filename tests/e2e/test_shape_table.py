"""Every model server's protocol behind every API shape: the same question is the same answer (P17, docs/dialects.md).

The mock speaks all three protocols and gives the same words in each, so one answer is expected of all cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from headrace.mock import answer_text
from tests.e2e.clients import CLIENTS, ERRORS, PICTURE, TOOLS, Ask
from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, running, serving
from tests.e2e.upstream import UPSTREAM_KEY, Upstream
from tests.servers.scripted import whole

PROTOCOLS = ("chat", "responses", "messages")
WORDS = 40
THOUGHTS = 12
SCENARIO = f"""
rules:
  - {{match: {{prompt: think}}, settings: {{reasoning: {THOUGHTS}}}}}
  - {{match: {{prompt: call}}, settings: {{tool-calls: {len(TOOLS)}}}}}
  - {{match: {{prompt: crawl}}, settings: {{gap: 60ms, tokens: 8}}}}
  - {{match: {{prompt: vanish}}, fault: "no-terminal:5"}}
  - {{match: {{prompt: break}}, fault: "cut-in-frame:5"}}
  - {{match: {{prompt: fail}}, fault: "error-frame:5"}}
  - {{match: {{prompt: busy}}, fault: "status:429,retry-after=7"}}
"""

each_client = pytest.mark.parametrize("client", CLIENTS)
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def entries(base: str, key: str) -> str:
    """One model for each protocol, called like it."""
    params = {
        "chat": {"model": "openai/up", "base_url": f"{base}/v1"},
        "responses": {"model": "openai/up", "api": "responses", "base_url": f"{base}/v1"},
        "messages": {"model": "anthropic/up", "base_url": base},
    }
    models = [{"model_name": name, "params": {**each, "api_key": key}} for name, each in params.items()]
    return json.dumps({"model_list": models, "keepalive_seconds": 0.05, "retries": 0})


@pytest.fixture(scope="module")
def before_mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace in front of one mock, with a heartbeat every 50 ms."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "scenario.yaml").write_text(SCENARIO)
    options = ["--tokens", str(WORDS), "--scenario", str(folder / "scenario.yaml")]
    with running([HEADRACE, "mock", *options], stderr=None) as process:
        address = process.stdout.readline().decode().split()[-1]
        (folder / "headrace.yaml").write_text(entries(address, "none"))
        with serving(folder, "--config", str(folder / "headrace.yaml")) as server:
            yield server
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def before_script(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace in front of a model server that shows what it was asked."""
    folder = tmp_path_factory.mktemp("script")
    base = scripted_upstream.url.removesuffix("/v1")
    (folder / "headrace.yaml").write_text(entries(base, UPSTREAM_KEY))
    with serving(folder, "--config", str(folder / "headrace.yaml")) as server:
        yield server


@pytest.mark.promise("P17", "P27")
@each_client
@each_protocol
def test_text_usage_and_the_end(before_mock: Server, protocol: str, client: str) -> None:
    seen = CLIENTS[client](Ask(before_mock.url, protocol, "a river"))
    assert (seen.text, seen.reasoning, seen.calls, seen.stop) == (answer_text(0, "a river", WORDS), "", (), "stop")
    assert seen.usage == (2, WORDS)


@pytest.mark.promise("P17")
@each_client
@each_protocol
def test_reasoning(before_mock: Server, protocol: str, client: str) -> None:
    seen = CLIENTS[client](Ask(before_mock.url, protocol, "think"))
    assert seen.text == answer_text(0, "think", WORDS)
    assert seen.reasoning == answer_text(0, "think\0reasoning", THOUGHTS)


@pytest.mark.promise("P17")
def test_a_signature_reaches_the_client_and_goes_back_with_the_thought(
    before_mock: Server, before_script: Server, upstream: Upstream
) -> None:
    """Anthropic's thinking, its proof, and the answer's second round: by its own client, and by the Responses API."""
    asked: Any = {"model": "messages", "max_tokens": 4096, "messages": [{"role": "user", "content": "think"}]}
    with anthropic.Anthropic(base_url=before_mock.url, api_key="none", max_retries=0) as client:
        thought = client.messages.create(**asked).content[0]
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_message().content[0] == thought
    assert thought.type == "thinking" and thought.signature
    with openai.OpenAI(base_url=before_mock.api, api_key="none", max_retries=0) as client:
        item = client.responses.create(model="messages", input="think").output[0]
    assert item.type == "reasoning" and item.encrypted_content == thought.signature
    upstream.play(whole(b'{"error":{"message":"seen enough","type":"invalid_request_error"}}', 400))
    again: Any = [{"role": "user", "content": "think"}, item.to_dict(), {"role": "user", "content": "And?"}]
    with (
        openai.OpenAI(base_url=before_script.api, api_key="none", max_retries=0) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.responses.create(model="messages", input=again)
    assert upstream.requests[0].json()["messages"][1]["content"] == [thought.to_dict()]


@pytest.mark.promise("P18")
@each_client
@each_protocol
def test_parallel_tool_calls(before_mock: Server, protocol: str, client: str) -> None:
    seen = CLIENTS[client](Ask(before_mock.url, protocol, "call", tools=TOOLS))
    assert seen.stop == "tool_calls"
    assert [name for name, _ in seen.calls] == list(TOOLS)
    expected = [{"index": index, "query": answer_text(0, f"call\0{index}", 6)} for index in range(len(TOOLS))]
    assert [json.loads(arguments) for _, arguments in seen.calls] == expected


@pytest.mark.promise("P17")
@each_client
@each_protocol
def test_a_limit_of_tokens(before_mock: Server, protocol: str, client: str) -> None:
    seen = CLIENTS[client](Ask(before_mock.url, protocol, "a river", max_tokens=16))
    assert (seen.text, seen.stop) == (answer_text(0, "a river", 16), "length")


@pytest.mark.promise("P14")
@each_client
@each_protocol
def test_heartbeats_break_no_client(before_mock: Server, protocol: str, client: str) -> None:
    seen = CLIENTS[client](Ask(before_mock.url, protocol, "crawl"))
    assert (seen.text, seen.stop) == (answer_text(0, "crawl", 8), "stop")


@pytest.mark.promise("P5", "P6", "P19")
@each_client
@each_protocol
@pytest.mark.parametrize("how", ["vanish", "break", "fail"])
def test_an_answer_that_stops_short_is_an_error_in_every_client(
    before_mock: Server, protocol: str, client: str, how: str
) -> None:
    with pytest.raises((*ERRORS, RuntimeError)) as caught:  # the Responses helper says RuntimeError
        CLIENTS[client](Ask(before_mock.url, protocol, how))
    assert not isinstance(caught.value, RuntimeError) or "response.completed" in str(caught.value)


@pytest.mark.promise("P19")
@each_client
@each_protocol
def test_a_model_server_that_is_busy(before_mock: Server, protocol: str, client: str) -> None:
    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as caught:
        CLIENTS[client](Ask(before_mock.url, protocol, "busy"))
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.promise("P17", "P34")
@each_client
@each_protocol
def test_an_image(before_script: Server, upstream: Upstream, protocol: str, client: str) -> None:
    upstream.play(whole(b'{"error":{"message":"seen enough","type":"invalid_request_error"}}', 400))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
        CLIENTS[client](Ask(before_script.url, protocol, "What is it?", picture=PICTURE))
    asked = upstream.requests[0]
    url = f"data:image/png;base64,{PICTURE}"
    match protocol:
        case "chat":
            assert asked.path == "/v1/chat/completions"
            text, image = asked.json()["messages"][0]["content"]
            assert image["image_url"]["url"] == url
        case "responses":
            assert asked.path == "/v1/responses"
            text, image = asked.json()["input"][0]["content"]
            assert image["image_url"] == url
        case _:
            assert asked.path == "/v1/messages"
            text, image = asked.json()["messages"][0]["content"]
            assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PICTURE}
    assert text["text"] == "What is it?"


@pytest.mark.promise("P25")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("protocol", "field", "value"), [("messages", "n", 3), ("responses", "n", 2), ("messages", "seed", 7)]
)
def test_what_a_protocol_cannot_say_is_refused_before_it_is_asked(
    before_script: Server, upstream: Upstream, protocol: str, field: str, value: int, *, stream: bool
) -> None:
    with (
        openai.OpenAI(base_url=before_script.api, api_key="none", max_retries=0) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        messages = [{"role": "user", "content": "Hi"}]
        client.chat.completions.create(model=protocol, messages=messages, stream=stream, **{field: value})  # pyright: ignore
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", field)
    assert not upstream.requests
