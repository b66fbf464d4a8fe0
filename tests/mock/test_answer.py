from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import openai
import pytest

from headrace.mock import MockServer, Settings, answer_text
from headrace.mock.answer import made_up
from headrace.mock.delivery import streamed
from headrace.mock.pacing import Gap
from headrace.mock.shapes import CHAT
from headrace.mock.steps import Frame, Pause
from tests.mock.client import Client, ask, question, raw_request

pytestmark = pytest.mark.anyio


def test_the_text_depends_on_the_seed_and_the_prompt_and_grows_at_its_end():
    text = answer_text(1, "a", 40)
    assert text == answer_text(1, "a", 40)
    assert text.startswith(answer_text(1, "a", 20))
    assert len(text.split()) == 40
    assert len({text, answer_text(2, "a", 40), answer_text(1, "b", 40)}) == 3
    assert answer_text(1, "a", 0) == ""


async def test_a_stream_has_the_text_and_its_hash():
    async with MockServer(Settings(tokens=20, seed=4)) as server:
        reply = await ask(server, question("what"))
    assert reply.text == answer_text(4, "what", 20)
    digest = hashlib.sha256(reply.text.encode()).hexdigest()
    assert reply.headers["x-mock-sha256"] == digest
    assert json.loads(reply.frames[0])["system_fingerprint"] == f"fp_{digest[:16]}"
    assert reply.frames[-1] == b"[DONE]"
    assert len(reply.frames) == 23


@pytest.mark.parametrize(
    ("setting", "asked", "sent"), [(None, True, 1), (None, False, 0), (True, False, 1), (False, True, 0)]
)
async def test_usage_comes_where_it_is_asked_for_unless_told_otherwise(setting, asked, sent):
    async with MockServer(Settings(tokens=3, usage=setting)) as server:
        reply = await ask(server, question(stream_options={"include_usage": asked}))
    usages = [json.loads(frame)["usage"] for frame in reply.frames if b'"usage"' in frame]
    assert len(usages) == sent
    assert all(usage["completion_tokens"] == 3 for usage in usages)


async def test_max_tokens_cuts_the_answer_short():
    async with MockServer(Settings(tokens=10)) as server:
        reply = await ask(server, question(max_tokens=4))
        assert reply.text == answer_text(0, "hi", 4)
        assert b'"finish_reason":"length"' in reply.frames[-2]


async def test_words_can_share_a_frame():
    async with MockServer(Settings(tokens=10, chunk_words=4)) as server:
        reply = await ask(server, question())
        assert server.stats.tokens == 10
    assert reply.text == answer_text(0, "hi", 10)
    assert len(reply.frames) == 6


async def test_the_official_client_reads_streams_tools_reasoning_and_whole_answers():
    async with MockServer(Settings(tokens=5, tool_calls=2, reasoning=3)) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        async with client:
            messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
            tools: list[Any] = [{"type": "function", "function": {"name": "look_up"}}]
            whole: Any = await client.chat.completions.create(model="m", messages=messages, tools=tools)
            arguments = {0: "", 1: ""}
            text = reasoning = ""
            stream: Any = await client.chat.completions.create(model="m", messages=messages, tools=tools, stream=True)
            async for chunk in stream:
                delta = chunk.choices[0].delta
                text += delta.content or ""
                reasoning += getattr(delta, "reasoning_content", None) or ""
                for call in delta.tool_calls or ():
                    arguments[call.index] += call.function.arguments
            models = [model.id async for model in client.models.list()]
    message = whole.choices[0].message
    assert message.content == text == answer_text(0, "hi", 5)
    assert message.reasoning_content == reasoning
    assert len(reasoning.split()) == 3
    assert [call.function.arguments for call in message.tool_calls] == list(arguments.values())
    assert json.loads(arguments[1])["index"] == 1
    assert {call.function.name for call in message.tool_calls} == {"look_up"}
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage.completion_tokens > 8
    assert models == ["mock"]


async def test_a_request_sets_its_own_numbers_in_headers_or_body():
    async with MockServer(Settings(tokens=10)) as server:
        assert len((await ask(server, question(), X_Mock_Tokens="3")).text.split()) == 3
        both = await ask(server, question(mock={"tokens": 2, "ttft": 0.001, "gap": "exp:1ms"}), X_Mock_Tokens="3")
        assert len(both.text.split()) == 2


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"{", {}, "no chat request"),
        ({"model": "m"}, {}, "messages"),
        (question(mock={"token": 2}), {}, "unknown field `token`"),
        (question(mock={"tokens": -2}), {}, "tokens"),
        (question(mock={"gap": "exp:x"}), {}, "exp:MEAN"),
        (question(mock={"fault": ["cut-byte"]}), {}, "did you mean cut-bytes?"),
        (question(), {"X_Mock_Fault": "crfl"}, "did you mean crlf?"),
        (question(), {"X_Mock_Gap": "soon"}, "duration"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(body, headers, words):
    async with MockServer() as server:
        reply = await ask(server, body, **headers)
    assert reply.status == 400
    assert words in reply.json()["error"]["message"]


async def test_a_connection_serves_many_requests_also_sent_at_once():
    async with MockServer(Settings(tokens=1)) as server, Client(server) as client:
        request = raw_request(question())
        reply = await client.ask(lambda reply: reply.wire.count(b"[DONE]") == 3, request * 3)
        assert reply.wire.count(b"HTTP/1.1 200 OK") == 3
        assert server.stats.connections == 1


async def test_an_old_client_gets_no_chunks_and_the_end_of_the_connection():
    async with MockServer(Settings(tokens=2)) as server:
        reply = await ask(server, question(), version="1.0", connection="keep-alive")
    assert "transfer-encoding" not in reply.headers
    assert reply.closed
    assert reply.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("HEAD", "/v1/chat/completions", 404)]
)
async def test_other_routes_are_not_found(method, path, status):
    async with MockServer() as server:
        assert (await ask(server, method=method, path=path)).status == status


async def test_what_is_no_http_is_a_bad_request():
    async with MockServer() as server, Client(server) as client:
        assert (await client.ask(lambda reply: False, b"SSH-2.0\r\n\r\n")).status == 400


@pytest.mark.parametrize("gap", [Gap(), Gap(a=0.001)])
async def test_stamps_say_number_and_time_and_end_with_their_hash(gap):
    before = time.monotonic_ns()
    async with MockServer(Settings(tokens=20, stamp=True, gap=gap)) as server:
        reply = await ask(server, question())
        assert server.stats.tokens == 20
    *tokens, digest = reply.text.split(" ")
    assert digest == f"sha256:{hashlib.sha256(''.join(f'{token} ' for token in tokens).encode()).hexdigest()}"
    numbers, times = zip(*(map(int, token.split(":")) for token in tokens), strict=True)
    assert numbers == tuple(range(20))
    assert before <= times[0] and times[-1] <= time.monotonic_ns()
    assert list(times) == sorted(times)
    assert len(reply.frames) == 24


async def test_a_stamp_is_the_time_of_the_write_not_of_the_wait_before_it():
    settings = Settings(tokens=2, stamp=True, gap=Gap(a=5.0))
    answer = made_up(CHAT.read(b'{"model": "m", "messages": [], "stream": true}'), settings, 1)
    steps = streamed(answer, CHAT.writer(answer))
    next(step for step in steps if isinstance(step, Pause))
    waited = time.monotonic_ns()
    token = next(step for step in steps if isinstance(step, Frame))
    stamp = int(token.data.partition(b'"content":"1:')[2].partition(b" ")[0])
    assert stamp >= waited


@pytest.mark.parametrize(
    ("fields", "headers"),
    [({"mock": {"stamp": True}}, {}), ({}, {"x_mock_stamp": "true"}), ({}, {"x_mock_stamp": "1"})],
)
async def test_a_request_can_ask_for_stamps(fields, headers):
    async with MockServer(Settings(tokens=1)) as server:
        reply = await ask(server, question(**fields), **headers)
    assert reply.text.startswith("0:")
