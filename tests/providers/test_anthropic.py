"""The Anthropic provider against a scripted server: what is sent, what comes, how it ends, how tokens are counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from headrace.codecs.long_body import LongBodyReader
from headrace.config import Config, Model, Secret
from headrace.dialects import ANTHROPIC_MESSAGES, NATIVE, OPENAI_CHAT
from headrace.errors import (
    BadRequest,
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamIncomplete,
    UpstreamProtocol,
    UpstreamUnavailable,
)
from headrace.events import ArgsDelta, Chunk, ItemStart, Signature, StepEnd, TextDelta
from headrace.messages import Request
from headrace.providers import create
from headrace.providers.anthropic import MESSAGES, AnthropicServer
from headrace.providers.model_server import settings_of
from tests.servers.scripted import END, ScriptedServer, chunk, head, whole

pytestmark = pytest.mark.anyio
FIXTURES = {path.stem: path.read_bytes() for path in (Path(__file__).parents[1] / "fixtures/anthropic").glob("*.sse")}
BODY = b'{"model":"public","max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"vendor_field":[1]}'
QUESTION = ANTHROPIC_MESSAGES.parse(BODY)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@asynccontextmanager
async def provider(server: ScriptedServer, **fields: Any) -> AsyncIterator[AnthropicServer]:
    model = Model(
        name="public",
        upstream_model="claude",
        base_url=server.url.removesuffix("/v1"),
        provider="anthropic",
        protocol="anthropic",
        **fields,
    )
    settings = msgspec.structs.replace(settings_of(MESSAGES, model), drain_seconds=0.05)
    made = AnthropicServer(MESSAGES, model, settings=settings)
    try:
        with anyio.fail_after(5):
            yield made
    finally:
        await made.close()


async def ask(made: AnthropicServer, request: Request = QUESTION) -> list[Chunk]:
    got: list[Chunk] = []
    async with aclosing(made.stream(request, "claude")) as batches:
        async for batch in batches:
            got += batch
    return got


def streamed(name: str) -> tuple[bytes, bytes, bytes]:
    return head(), chunk(FIXTURES[name]), END


def said(chunks: list[Chunk], kind: type[Any]) -> list[Any]:
    return [event for each in chunks for event in each.events if isinstance(event, kind)]


@pytest.mark.promise("P12", "P17", "P34")
async def test_a_request_of_the_same_shape_goes_on_as_it_came(server: ScriptedServer):
    server.script(*streamed("text"))
    request = msgspec.structs.replace(QUESTION, headers=(("anthropic-beta", "a-2025-01-01"),))
    async with provider(server, api_key=Secret("sk-ant-1")) as made:
        chunks = await ask(made, request)
    (sent,) = server.requests
    assert sent.json() == {**msgspec.json.decode(BODY), "model": "claude", "stream": True}
    headers = sent.headers
    assert sent.path == "/v1/messages"
    assert headers["x-api-key"] == "sk-ant-1"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "a-2025-01-01"
    assert "authorization" not in headers
    assert "".join(event.text for event in said(chunks, TextDelta)) == "Hello! Grüße, 世界 🌊\n"
    assert isinstance(chunks[-1].events[-1], StepEnd)


async def test_the_version_of_the_caller_or_of_the_configuration_beats_ours(server: ScriptedServer):
    server.script(*streamed("text"))
    request = msgspec.structs.replace(QUESTION, headers=(("anthropic-version", "2099-01-01"),))
    async with provider(server) as made:
        await ask(made, request)
        await ask(made, msgspec.structs.replace(request, dialect="native", body=b""))
    async with provider(server, headers=(("Anthropic-Version", Secret("2024-01-01")),)) as made:
        await ask(made)
    versions = [request.headers["anthropic-version"] for request in server.requests]
    assert versions == ["2099-01-01", "2023-06-01", "2024-01-01"]


@pytest.mark.promise("P12", "P17")
async def test_a_chat_request_is_asked_in_anthropics_words(server: ScriptedServer):
    server.script(*streamed("tools"))
    request = OPENAI_CHAT.parse(
        b'{"model":"public","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],'
        b'"max_completion_tokens":50,"stop":"END"}'
    )
    async with provider(server) as made:
        made.check(request)
        chunks = await ask(made, request)
    assert server.requests[0].json() == {
        "model": "claude",
        "max_tokens": 50,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stop_sequences": ["END"],
        "stream": True,
    }
    calls = [item for item in said(chunks, ItemStart) if item.kind == "tool_call"]
    assert [call.name for call in calls] == ["get_weather", "get_time", "whole"]
    assert said(chunks, ArgsDelta)[-1].json == '{"a": [1, 2.0]}'


@pytest.mark.promise("P17")
async def test_a_signature_arrives_byte_for_byte(server: ScriptedServer):
    server.script(*streamed("thinking"))
    async with provider(server) as made:
        (signature,) = said(await ask(made), Signature)
    assert f'"signature": "{signature.data}"'.encode() in FIXTURES["thinking"]


@pytest.mark.promise("P6")
async def test_a_stream_without_message_stop_is_incomplete(server: ScriptedServer):
    server.script(*streamed("truncated"))
    got: list[Chunk] = []
    async with provider(server) as made:
        with pytest.raises(UpstreamIncomplete, match="message_stop"):
            await made.push(QUESTION, "claude", got.extend)
    assert "".join(event.text for event in said(got, TextDelta)) == "Half an answer"


@pytest.mark.promise("P19")
async def test_an_error_in_the_stream_comes_after_what_was_said(server: ScriptedServer):
    server.script(*streamed("overloaded"))
    got: list[Chunk] = []
    async with provider(server) as made:
        with pytest.raises(UpstreamUnavailable, match="Overloaded") as caught:
            await made.push(QUESTION, "claude", got.extend)
    assert (caught.value.status, caught.value.may_retry) == (503, True)
    assert "".join(event.text for event in said(got, TextDelta)) == "Half"


def refusal(status: int, kind: str) -> bytes:
    return whole(msgspec.json.encode({"type": "error", "error": {"type": kind, "message": "Sorry."}}), status)


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("status", "kind", "error", "told"),
    [
        (400, "invalid_request_error", HeadraceError, 400),
        (401, "authentication_error", UpstreamAuth, 502),
        (413, "request_too_large", HeadraceError, 413),
        (429, "rate_limit_error", RateLimited, 429),
        (500, "api_error", UpstreamUnavailable, 502),
        (529, "overloaded_error", UpstreamUnavailable, 503),
    ],
)
async def test_a_refusal_is_told_by_its_status(
    server: ScriptedServer, status: int, kind: str, error: type[HeadraceError], told: int
):
    server.script(refusal(status, kind))
    async with provider(server) as made:
        with pytest.raises(error) as caught:
            await ask(made)
        with pytest.raises(error):
            await made.count_tokens(QUESTION, "claude")
    assert caught.value.status == told


@pytest.mark.promise("P12")
async def test_a_server_that_cannot_stream_is_asked_for_the_whole_answer(server: ScriptedServer):
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    server.script(whole(msgspec.json.encode(body)))
    async with provider(server, stream="force") as made:
        chunks = await ask(made)
    assert server.requests[0].json()["stream"] is False
    assert [event.text for event in said(chunks, TextDelta)] == ["Hi"]
    assert isinstance(chunks[-1].events[-1], StepEnd)


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'"seed":1', "seed"),
        (b'"temperature":1.5', "temperature"),
        (b'"logprobs":true', "logprobs"),
        (b'"response_format":{"type":"json_object"}', "response_format"),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_is_asked(server: ScriptedServer, body: bytes, param: str):
    request = OPENAI_CHAT.parse(b'{"model":"m","messages":[{"role":"user","content":"Hi"}],%b}' % body)
    async with provider(server) as made:
        with pytest.raises(BadRequest) as caught:
            made.check(request)
    assert (caught.value.error_code, caught.value.param) == ("unsupported_parameter", param)
    assert not server.requests


async def test_tokens_are_counted_by_the_server(server: ScriptedServer):
    server.script(whole(b'{"input_tokens":14}'))
    request = msgspec.structs.replace(QUESTION, headers=(("anthropic-beta", "a"),))
    native = NATIVE.parse(b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"settings":{"stop":["x"]}}')
    async with provider(server, api_key=Secret("sk-ant-1")) as made:
        assert await made.count_tokens(request, "claude") == 14
        assert await made.count_tokens(native, "claude") == 14
    first, second = server.requests
    assert first.path == "/v1/messages/count_tokens"
    assert first.json() == {"model": "claude", "messages": [{"role": "user", "content": "Hi"}]}
    assert (first.headers["x-api-key"], first.headers["anthropic-beta"]) == ("sk-ant-1", "a")
    assert second.json() == {
        "model": "claude",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


async def test_a_long_request_is_counted_and_asked_in_pieces(server: ScriptedServer):
    server.choose = lambda request: (
        (whole(b'{"input_tokens":14}'),) if request.path.endswith("count_tokens") else streamed("text")
    )
    text = "word " * 5000
    body = msgspec.json.encode({**msgspec.json.decode(BODY), "messages": [{"role": "user", "content": text}]})
    reader = LongBodyReader("5a" * 16)
    reader.feed(body)
    steps = ANTHROPIC_MESSAGES.parse_long(reader.finish())
    request: Request | None = None
    while request is None:
        try:
            next(steps)
        except StopIteration as end:
            request = end.value
    async with provider(server) as made:
        assert await made.count_tokens(request, "claude") == 14
        await ask(made, request)
    assert [sent.json()["messages"][0]["content"] for sent in server.requests] == [text, text]


@pytest.mark.parametrize("answer", [b"{}", b"no", b'{"input_tokens":"x"}'])
async def test_what_is_no_count_is_a_protocol_error(server: ScriptedServer, answer: bytes):
    server.script(whole(answer))
    async with provider(server) as made:
        with pytest.raises(UpstreamProtocol):
            await made.count_tokens(QUESTION, "claude")


async def test_the_table_makes_it():
    model = Model(name="a", upstream_model="m", provider="anthropic", protocol="anthropic", base_url="http://x")
    made = create(model, Config())
    assert isinstance(made, AnthropicServer)
    assert made.name == "anthropic"
    await made.close()
