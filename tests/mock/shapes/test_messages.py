"""Anthropic Messages, as the official client understands them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from headrace.mock import MockServer, Settings, answer_text, parse_faults
from tests.mock.client import ask, asking

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "hi"}]
TOOLS: list[Any] = [{"name": "look_up", "input_schema": {"type": "object"}}]
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
FULL = Settings(tokens=9, tool_calls=2, reasoning=3)


@pytest.fixture
async def server() -> AsyncIterator[MockServer]:
    async with MockServer(FULL) as server:
        yield server


def client_of(server: MockServer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0)


async def test_the_streaming_helper_builds_the_same_message_as_a_whole_answer(server):
    async with client_of(server) as client:
        whole = await client.messages.create(model="m", messages=HELLO, tools=TOOLS, max_tokens=100)
        async with client.messages.stream(model="m", messages=HELLO, tools=TOOLS, max_tokens=100) as stream:
            text = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
    assert text == answer_text(0, "hi", 9)
    thinking, said, *calls = (block.to_dict() for block in final.content)
    assert [thinking, said, *calls] == [block.to_dict() for block in whole.content]
    assert len(str(thinking["thinking"]).split()) == 3 and len(str(thinking["signature"])) > 100
    assert [call["name"] for call in calls] == ["look_up", "look_up"]
    inputs: list[Any] = [call["input"] for call in calls]
    assert [each["index"] for each in inputs] == [0, 1]
    assert len({call["id"] for call in calls}) == 2
    assert final.stop_reason == whole.stop_reason == "tool_use"
    assert final.usage.output_tokens == whole.usage.output_tokens > 12
    assert final.usage.input_tokens == whole.usage.input_tokens == 1
    assert final.id.removeprefix("msg_mock2") == whole.id.removeprefix("msg_mock1")


async def test_every_event_has_its_name_and_all_that_the_client_requires():
    async with MockServer(FULL) as server:
        reply = await ask(server, **asking("anthropic.messages"))
        whole = await ask(server, **asking("anthropic.messages", stream=False))
    names = [line[7:].decode() for line in reply.body.split(b"\n") if line.startswith(b"event: ")]
    assert names == [event["type"] for event in reply.events]
    for event in reply.events:
        if event["type"] != "ping":
            EVENT.validate_python(event, strict=False)
    Message.model_validate(whole.json())
    assert reply.text == answer_text(0, "hi", 9)
    assert not any(frame.startswith(b"[DONE]") for frame in reply.frames)


async def test_the_order_is_that_of_the_vendor():
    async with MockServer(Settings(tokens=1, reasoning=1)) as server:
        reply = await ask(server, **asking("anthropic.messages"))
    said = [(event["type"], event.get("index"), event.get("delta", {}).get("type")) for event in reply.events]
    assert said == [
        ("message_start", None, None),
        ("content_block_start", 0, None),
        ("ping", None, None),
        ("content_block_delta", 0, "thinking_delta"),
        ("content_block_delta", 0, "signature_delta"),
        ("content_block_stop", 0, None),
        ("content_block_start", 1, None),
        ("content_block_delta", 1, "text_delta"),
        ("content_block_stop", 1, None),
        ("message_delta", None, None),
        ("message_stop", None, None),
    ]


async def test_the_limit_is_a_stop_reason_and_is_required(server):
    async with client_of(server) as client:
        cut = await client.messages.create(model="m", messages=HELLO, max_tokens=4)
        assert cut.stop_reason == "max_tokens"
    reply = await ask(server, {"model": "m", "messages": []}, path="/v1/messages")
    assert reply.status == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert "max_tokens" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, anthropic.AuthenticationError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
async def test_a_status_is_the_clients_own_exception(status, kind):
    async with MockServer(Settings(), parse_faults(f"status:{status}")) as server, client_of(server) as client:
        with pytest.raises(kind) as caught:
            await client.messages.create(model="m", messages=HELLO, max_tokens=4)
    assert caught.value.status_code == status
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert (body["error"]["type"] == "overloaded_error") is (status == 529)


async def test_an_error_in_the_stream_raises_in_the_client():
    async with (
        MockServer(Settings(), parse_faults("error-frame:2")) as server,
        client_of(server) as client,
        client.messages.stream(model="m", messages=HELLO, max_tokens=100) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError, match="told to fail"):
            await stream.get_final_message()


async def test_tokens_are_counted(server):
    system = "be brief and kind"
    async with client_of(server) as client:
        counted = await client.messages.count_tokens(model="m", messages=HELLO, system=system)
        answer = await client.messages.create(model="m", messages=HELLO, system=system, max_tokens=9)
    assert counted.input_tokens == answer.usage.input_tokens == 5
    wrong = await ask(server, {"model": "m"}, path="/v1/messages/count_tokens")
    assert (wrong.status, wrong.json()["type"]) == (400, "error")


async def test_without_usage_all_counts_are_zero():
    async with MockServer(Settings(tokens=2, usage=False)) as server:
        reply = await ask(server, **asking("anthropic.messages"))
    usages = [json.loads(frame) for frame in reply.frames if b'"usage"' in frame]
    assert usages[0]["message"]["usage"]["input_tokens"] == usages[1]["usage"]["output_tokens"] == 0
