"""OpenAI Responses, as the official client understands them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from headrace.mock import MockServer, Settings, answer_text, parse_faults
from tests.mock.client import ask, asking

pytestmark = pytest.mark.anyio

TOOLS: list[Any] = [{"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}]
SIGNED: list[Any] = ["reasoning.encrypted_content"]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FULL = Settings(tokens=9, tool_calls=2, reasoning=3)


@pytest.fixture
async def server() -> AsyncIterator[MockServer]:
    async with MockServer(FULL) as server:
        yield server


def client_of(server: MockServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def without_numbers(response: Any) -> list[Any]:
    """The items without their ids, which count requests."""
    return [{name: value for name, value in item.to_dict().items() if name != "id"} for item in response.output]


async def test_the_streaming_helper_builds_the_same_response_as_a_whole_answer(server):
    async with client_of(server) as client:
        whole = await client.responses.create(model="m", input="hi", tools=TOOLS, include=SIGNED)
        text = ""
        async with client.responses.stream(model="m", input="hi", tools=TOOLS, include=SIGNED) as stream:
            async for event in stream:
                text += event.delta if event.type == "response.output_text.delta" else ""
            final: Any = await stream.get_final_response()
    assert text == final.output_text == whole.output_text == answer_text(0, "hi", 9)
    items = without_numbers(whole)
    assert [{**item, **after} for item, after in zip(items, without_numbers(final), strict=True)] == (
        without_numbers(final)
    )
    reasoning, _, *calls = final.output
    assert len(reasoning.summary[0].text.split()) == 3 and len(reasoning.encrypted_content) > 100
    assert [call.name for call in calls] == ["look_up", "look_up"]
    assert [call.arguments for call in calls] == [item["arguments"] for item in items[2:]]
    assert len({call.call_id for call in calls}) == len({call.id for call in calls}) == 2
    assert final.status == whole.status == "completed"
    assert final.usage == whole.usage
    assert final.usage.output_tokens_details.reasoning_tokens == 3
    assert final.tools[0].name == "look_up"


async def test_every_event_has_its_name_its_number_and_all_that_the_client_requires():
    async with MockServer(FULL) as server:
        reply = await ask(server, **asking("openai.responses", tools=TOOLS))
        whole = await ask(server, **asking("openai.responses", stream=False))
    names = [line[7:].decode() for line in reply.body.split(b"\n") if line.startswith(b"event: ")]
    assert names == [event["type"] for event in reply.events]
    assert [event["sequence_number"] for event in reply.events] == list(range(len(names)))
    for event in reply.events:
        EVENT.validate_python(event, strict=False)
    Response.model_validate(whole.json())
    assert reply.events[-1]["response"]["output"] == [
        event["item"] for event in reply.events if event["type"] == "response.output_item.done"
    ]


async def test_the_order_is_that_of_the_vendor():
    async with MockServer(Settings(tokens=1, reasoning=1)) as server:
        reply = await ask(server, **asking("openai.responses"))
    said = [(event["type"].removeprefix("response."), event.get("output_index")) for event in reply.events]
    assert said == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", 0),
        ("reasoning_summary_part.added", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.done", 0),
        ("reasoning_summary_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("content_part.added", 1),
        ("output_text.delta", 1),
        ("output_text.done", 1),
        ("content_part.done", 1),
        ("output_item.done", 1),
        ("completed", None),
    ]
    assert "encrypted_content" not in reply.events[7]["item"]


async def test_the_limit_makes_an_incomplete_response(server):
    async with client_of(server) as client:
        cut: Any = await client.responses.create(model="m", input="hi", max_output_tokens=4)
    reply = await ask(server, **asking("openai.responses", max_output_tokens=4))
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert reply.events[-1]["type"] == "response.incomplete"
    assert reply.text == cut.output_text == answer_text(0, "hi", 4)


async def test_the_response_repeats_the_request():
    asked = {"instructions": "be\n brief", "temperature": 0.5, "metadata": {"a": "b"}, "max_output_tokens": 7}
    async with MockServer(Settings(tokens=2)) as server:
        reply = await ask(server, **asking("openai.responses", **asked))
    for event in (reply.events[0], reply.events[-1]):
        assert {name: event["response"][name] for name in asked} == asked


async def test_a_status_is_the_clients_own_exception():
    async with MockServer(Settings(), parse_faults("status:429")) as server, client_of(server) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.responses.create(model="m", input="hi")
    assert caught.value.code == "mock_error"


async def test_an_error_event_raises_in_the_client():
    async with (
        MockServer(Settings(), parse_faults("error-frame:2,form=error")) as server,
        client_of(server) as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        with pytest.raises(openai.APIError, match="told to fail"):
            await stream.get_final_response()


async def test_a_failure_is_the_same_response_with_the_next_number():
    async with MockServer(Settings(), parse_faults("error-frame:2")) as server:
        reply = await ask(server, **asking("openai.responses", instructions="be brief"))
    created, failed = reply.events[0]["response"], reply.events[-1]
    EVENT.validate_python(failed, strict=False)
    assert failed["type"] == "response.failed"
    assert failed["sequence_number"] == len(reply.events) - 1
    assert failed["response"]["error"]["code"] == "server_error"
    assert (failed["response"]["id"], failed["response"]["instructions"]) == (created["id"], "be brief")


async def test_without_usage_there_is_none():
    async with MockServer(Settings(tokens=2, usage=False)) as server:
        assert (await ask(server, **asking("openai.responses"))).events[-1]["response"]["usage"] is None


async def test_what_is_no_request_is_refused(server):
    reply = await ask(server, {"model": "m", "input": 3}, path="/v1/responses")
    assert reply.status == 400
    assert "no Responses request" in reply.json()["error"]["message"]
