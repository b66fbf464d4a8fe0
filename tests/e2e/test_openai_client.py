"""The official Python client, as it is, against Headrace with the embedded model."""

from __future__ import annotations

import json
import re

import openai
import pytest

from tests.e2e.asking import MODEL, WEATHER, finishes, question, text_of
from tests.e2e.processes import Server
from tests.e2e.raw import get

PUBLIC_ID = re.compile(r"chatcmpl-[0-9a-f]{32}")


@pytest.mark.promise("P1", "P31")
def test_a_streamed_answer_carries_its_id_in_the_headers_and_in_every_chunk(client: openai.OpenAI):
    with client.chat.completions.create(**question(), stream=True) as stream:
        stream_id = stream.response.headers["headrace-stream-id"]
        location = stream.response.headers["location"]
        chunks = list(stream)
    assert location == f"/v1/chat/completions/chatcmpl-{stream_id}"
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{stream_id}"}
    assert PUBLIC_ID.fullmatch(chunks[0].id)
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert [c.choices[0].delta.role for c in chunks if c.choices and c.choices[0].delta.role] == ["assistant"]
    assert text_of(chunks)
    assert len(finishes(chunks)) == 1
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.anyio
async def test_the_async_client_streams(embedded: Server):
    async with (
        openai.AsyncOpenAI(base_url=embedded.api, api_key="none") as client,
        await client.chat.completions.create(**question(), stream=True) as stream,
    ):
        chunks = [chunk async for chunk in stream]
    assert text_of(chunks)
    assert finishes(chunks) in (["length"], ["stop"])


@pytest.mark.promise("P1", "P12", "P27")
def test_a_whole_answer_has_its_text_its_usage_and_its_stream(client: openai.OpenAI, embedded: Server):
    raw = client.chat.completions.with_raw_response.create(**question())
    answer = raw.parse()
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("length", "stop")
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 16
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id == f"chatcmpl-{raw.headers['headrace-stream-id']}"
    again = client.chat.completions.retrieve(answer.id)
    assert again == answer
    state = get(f"{embedded.api}/streams/{answer.id}")
    assert state["state"] == "finished"
    assert state["text"] == choice.message.content
    assert state["usage"].get("source", "provider") == "provider"


@pytest.mark.promise("P27")
def test_the_usage_chunk_comes_last_and_only_when_asked_for(client: openai.OpenAI):
    with client.chat.completions.create(**question(), stream=True, stream_options={"include_usage": True}) as stream:
        *others, last = list(stream)
    assert last.choices == []
    assert last.usage is not None
    assert 0 < last.usage.completion_tokens <= 16
    assert all(chunk.usage is None and chunk.choices for chunk in others)


@pytest.mark.promise("P1")
def test_raw_and_streaming_responses_of_the_client_show_the_stream_id(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(**question(4), stream=True)
    with raw.parse() as stream:
        chunks = list(stream)
    assert chunks[0].id == f"chatcmpl-{raw.headers['headrace-stream-id']}"
    with client.chat.completions.with_streaming_response.create(**question(4), stream=True) as response:
        lines = [line for line in response.iter_lines() if line]
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: {") for line in lines[:-1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.promise("P19", "P25")
def test_an_unknown_model_is_the_clients_not_found(client: openai.OpenAI, stream: bool):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**question(model="gpt-17"), stream=stream)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "gpt-17" in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
@pytest.mark.promise("P19", "P25")
def test_a_wrong_field_is_the_clients_bad_request_and_names_the_field(client: openai.OpenAI, fields, param: str):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**question() | fields, stream=stream)
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"


@pytest.mark.promise("P19")
def test_what_the_embedded_model_cannot_do_is_said(client: openai.OpenAI):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="one answer: leave n out") as refused:
            client.chat.completions.create(**question(n=2), stream=stream)
        assert refused.value.param == "n"
        assert "partial" not in json.loads(refused.value.response.read())["error"]


@pytest.mark.promise("P18")
def test_a_required_tool_call_is_valid_json_for_the_function(client: openai.OpenAI):
    asked = question(80, tools=[WEATHER], tool_choice="required", temperature=0)
    asked["messages"] = [{"role": "user", "content": "What is the weather in Paris?"}]
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.id
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@pytest.mark.promise("P18")
def test_a_streamed_tool_call_names_itself_once_and_its_arguments_join_to_json(client: openai.OpenAI):
    asked = question(80, tools=[WEATHER], tool_choice="required", temperature=0)
    asked["messages"] = [{"role": "user", "content": "What is the weather in Paris?"}]
    with client.chat.completions.create(**asked, stream=True) as stream:
        chunks = list(stream)
    deltas = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert [delta.id for delta in deltas if delta.id] == [deltas[0].id]
    assert [delta.function.name for delta in deltas if delta.function and delta.function.name] == ["get_weather"]
    assert {delta.index for delta in deltas} == {0}
    arguments = "".join(delta.function.arguments or "" for delta in deltas if delta.function)
    assert isinstance(json.loads(arguments)["city"], str)
    assert finishes(chunks) == ["tool_calls"]


def test_the_client_lists_the_models(client: openai.OpenAI):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
