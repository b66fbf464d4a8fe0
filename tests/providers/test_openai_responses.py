"""The row of the Responses API against a scripted server: what is sent, ends, errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from headrace.config import Config, Model, Secret
from headrace.dialects import OPENAI_CHAT, OPENAI_RESPONSES
from headrace.errors import BadRequest, HeadraceError, RateLimited, UpstreamIncomplete
from headrace.events import Chunk, StepEnd, TextDelta
from headrace.messages import Request
from headrace.providers import create
from headrace.providers.model_server import ModelServer, settings_of
from headrace.providers.openai import RESPONSES
from tests.servers.scripted import END, Disconnect, ScriptedServer, chunk, head, whole

pytestmark = pytest.mark.anyio
FIXTURES = Path(__file__).parents[1] / "fixtures" / "responses"
QUESTION = OPENAI_RESPONSES.parse(b'{"model":"public","input":"hi","background":true,"vendor_field":[1]}')


def fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.sse").read_bytes()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@asynccontextmanager
async def provider(server: ScriptedServer, **fields: Any) -> AsyncIterator[ModelServer]:
    model = Model(name="public", upstream_model="m", base_url=server.url, protocol="openai-responses", **fields)
    settings = msgspec.structs.replace(settings_of(RESPONSES, model), drain_seconds=0.05)
    made = ModelServer(RESPONSES, model, 100_000, settings)
    try:
        with anyio.fail_after(5):
            yield made
    finally:
        await made.close()


async def ask(made: ModelServer, request: Request = QUESTION) -> list[Chunk]:
    return [chunk async for batch in made.stream(request, "m") for chunk in batch]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(event.text for chunk in chunks for event in chunk.events if isinstance(event, TextDelta))


@pytest.mark.promise("P12", "P17", "P34")
async def test_a_request_of_the_same_shape_goes_on_as_it_came(server: ScriptedServer):
    server.script(whole(fixture("text"), content_type="text/event-stream"))
    async with provider(server, api_key=Secret("sk-configured")) as made:
        chunks = await ask(made)
    (sent,) = server.requests
    assert (sent.path, sent.headers["authorization"]) == ("/v1/responses", "Bearer sk-configured")
    assert sent.json() == {"model": "m", "input": "hi", "vendor_field": [1], "stream": True}
    assert text_of(chunks) == "Hi there! How can I help? €😀"


async def test_a_chat_is_asked_in_items(server: ScriptedServer):
    server.script(whole(fixture("text"), content_type="text/event-stream"))
    chat = OPENAI_CHAT.parse(b'{"model":"public","messages":[{"role":"user","content":"hi"}],"max_tokens":5}')
    async with provider(server) as made:
        made.check(chat)
        await ask(made, chat)
    sent = server.requests[0].json()
    assert sent["input"] == [{"type": "message", "role": "user", "content": "hi"}]
    assert (sent["max_output_tokens"], sent["store"]) == (5, False)


@pytest.mark.promise("P25")
async def test_what_the_api_has_no_words_for_is_refused_before_anything_starts(server: ScriptedServer):
    chat = OPENAI_CHAT.parse(b'{"model":"public","messages":[{"role":"user","content":"hi"}],"seed":5}')
    async with provider(server) as made:
        with pytest.raises(BadRequest) as refused:
            made.check(chat)
    assert refused.value.param == "seed"


@pytest.mark.promise("P6")
async def test_without_the_terminal_frame_an_answer_is_incomplete(server: ScriptedServer):
    server.script(head(), chunk(fixture("truncated")), END)
    got: list[Chunk] = []
    async with provider(server) as made:
        with pytest.raises(UpstreamIncomplete, match=r"response\.completed"):
            async for batch in made.stream(QUESTION, "m"):
                got += batch
    assert text_of(got) == "Half a sentence"


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["text", "incomplete"])
async def test_a_terminal_frame_ends_the_answer_though_the_socket_stays_open(server: ScriptedServer, name: str):
    server.script(head(), chunk(fixture(name)), Disconnect())
    async with provider(server) as made:
        chunks = await ask(made)
    assert isinstance(chunks[-1].events[-1], StepEnd)


@pytest.mark.promise("P19")
@pytest.mark.parametrize(("name", "error"), [("error_event", RateLimited), ("failed", HeadraceError)])
async def test_an_error_in_the_stream_comes_after_what_was_said(
    server: ScriptedServer, name: str, error: type[HeadraceError]
):
    server.script(whole(fixture(name), content_type="text/event-stream"))
    got: list[Chunk] = []
    async with provider(server) as made:
        with pytest.raises(error):
            async for batch in made.stream(QUESTION, "m"):
                got += batch
    assert text_of(got).startswith("Half")


@pytest.mark.promise("P12")
async def test_a_server_that_cannot_stream_is_asked_for_the_whole_answer(server: ScriptedServer):
    body = json.dumps(json.loads(fixture("text").rsplit(b"data: ", 1)[1])["response"]).encode()
    server.script(whole(body))
    async with provider(server, stream="force") as made:
        chunks = await ask(made)
    assert server.requests[0].json()["stream"] is False
    assert text_of(chunks) == "Hi there! How can I help? €😀"


async def test_the_api_of_an_entry_makes_this_provider():
    model = Model(name="p", upstream_model="m", base_url="http://127.0.0.1:9/v1", protocol="openai-responses")
    made = create(model, Config())
    assert isinstance(made, ModelServer)
    await made.close()
