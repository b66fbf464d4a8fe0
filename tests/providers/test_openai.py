"""The OpenAI provider against a scripted server: chunks, ends, errors, and what is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from headrace.config import Config, Model, Secret
from headrace.dialects.openai_chat import OpenAIChat
from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocol,
    UpstreamRejected,
)
from headrace.events import ArgsDelta, Chunk, Event, ItemStart, StepEnd, StepStart, TextDelta, Usage
from headrace.messages import Message, Part, Request
from headrace.providers import PROTOCOLS, create
from headrace.providers.local import LocalProvider
from headrace.providers.model_server import ModelServer, settings_of
from headrace.providers.openai import CHAT
from headrace.providers.replay import ReplayProvider
from tests.servers.scripted import DONE, END, Close, ScriptedServer, Wait, chat, chunk, delta, frame, head, whole

pytestmark = pytest.mark.anyio
FIXTURES = Path(__file__).parents[1] / "fixtures"
QUESTION = OpenAIChat().parse(
    b'{"model":"public","messages":[{"role":"user","content":"hi"}],"temperature":0.5,"vendor_field":[1]}'
)


async def pulled(made: ModelServer, request: Request, take: Callable[[list[Chunk]], None]) -> None:
    async with aclosing(made.stream(request, "m")) as chunks:
        async for batch in chunks:
            take(batch)


async def pushed(made: ModelServer, request: Request, take: Callable[[list[Chunk]], None]) -> None:
    await made.push(request, "m", take)


collect = pulled


@pytest.fixture(params=[pulled, pushed])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to take an answer: whatever holds of one holds of the other."""
    monkeypatch.setitem(globals(), "collect", request.param)


@pytest.fixture
async def server(way: None) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@asynccontextmanager
async def provider(server: ScriptedServer, max_line: int = 100_000, **fields: Any) -> AsyncIterator[ModelServer]:
    model = Model(name="public", upstream_model="m", base_url=server.url, **fields)
    settings = msgspec.structs.replace(settings_of(CHAT, model), drain_seconds=0.05)
    made = ModelServer(CHAT, model, max_line, settings)
    try:
        with anyio.fail_after(5):
            yield made
    finally:
        await made.close()


async def ask(made: ModelServer, request: Request = QUESTION) -> list[list[Chunk]]:
    got: list[list[Chunk]] = []
    await collect(made, request, got.append)
    return got


async def failure(made: ModelServer) -> tuple[list[Chunk], HeadraceError]:
    got: list[Chunk] = []
    with pytest.raises(HeadraceError) as caught:
        await collect(made, QUESTION, got.extend)
    return got, caught.value


def events_of(batches: Iterable[Iterable[Chunk]]) -> list[Event]:
    return [event for batch in batches for chunk in batch for event in chunk.events]


def text_of(chunks: Iterable[Chunk]) -> str:
    return "".join(event.text for chunk in chunks for event in chunk.events if isinstance(event, TextDelta))


def comparable(batches: Iterable[Iterable[Chunk]]) -> list[bytes]:
    return [msgspec.json.encode(chunk) for batch in batches for chunk in batch]


# What is sent


@pytest.mark.promise("P12", "P17", "P27")
async def test_a_request_of_the_same_shape_goes_on_as_it_came(server: ScriptedServer):
    server.script(whole(chat("x"), content_type="text/event-stream"))
    async with provider(server) as made:
        await ask(made)
    assert server.requests[0].json() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "vendor_field": [1],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_request_of_another_shape_is_written_in_this_one(server: ScriptedServer):
    server.script(whole(chat("x"), content_type="text/event-stream"))
    request = Request("native", "public", (Message("user", (Part("text", "hi"),)),))
    async with provider(server) as made:
        await ask(made, request)
    assert server.requests[0].json()["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.promise("P34")
async def test_the_configured_key_and_headers_identify_us(server: ScriptedServer):
    server.script(whole(chat("x"), content_type="text/event-stream"))
    headers = (("HTTP-Referer", Secret("https://example.org")),)
    async with provider(server, api_key=Secret("sk-configured"), headers=headers) as made:
        await ask(made)
    sent = server.requests[0].headers
    assert (sent["authorization"], sent["http-referer"]) == ("Bearer sk-configured", "https://example.org")
    assert server.requests[0].path == "/v1/chat/completions"


@pytest.mark.promise("P7", "P8")
@pytest.mark.parametrize("configured", [None, "continue"])
async def test_another_headrace_upstream_is_told_to_stop_with_us(server: ScriptedServer, configured: str | None):
    server.script(whole(chat("x"), content_type="text/event-stream"))
    headers = () if configured is None else (("Headrace-On-Disconnect", Secret(configured)),)
    async with provider(server, headers=headers) as made:
        await ask(made)
    assert server.requests[0].headers["headrace-on-disconnect"] == (configured or "cancel")


async def test_without_a_key_there_is_no_authorization(server: ScriptedServer):
    server.script(whole(chat("x"), content_type="text/event-stream"))
    async with provider(server) as made:
        await ask(made)
    assert "authorization" not in server.requests[0].headers


# What comes back


async def test_each_read_gives_one_list(server: ScriptedServer):
    gates = [anyio.Event() for _ in range(2)]
    server.script(
        *(head(), chunk(delta(role="assistant", content="a"))),
        *(Wait(gates[0]), chunk(delta(content="b"), delta(content="c"))),
        *(Wait(gates[1]), chunk(delta("stop"), DONE), END),
    )

    batches: list[list[Chunk]] = []

    def take(batch: list[Chunk]) -> None:
        batches.append(batch)
        if len(batches) <= len(gates):
            gates[len(batches) - 1].set()

    async with provider(server) as made:
        await collect(made, QUESTION, take)
    assert [text_of(batch) for batch in batches] == ["a", "bc", ""]
    assert batches[0][0].events[0] == StepStart(
        provider="openai", model="scripted", dialect="openai.chat", upstream_id="up-1"
    )
    assert batches[-1][-1].events == (StepEnd("stop", None),)


async def test_a_read_without_a_whole_frame_gives_no_list(server: ScriptedServer):
    gate = anyio.Event()
    first = delta(role="assistant", content="a")
    server.script(head(), chunk(first[:20]), Wait(gate), chunk(first[20:], DONE), END)
    batches: list[list[Chunk]] = []

    async def collect(made: ModelServer) -> None:
        batches.extend(await ask(made))

    async with provider(server) as made, anyio.create_task_group() as tasks:
        tasks.start_soon(collect, made)
        await server.happened("request")
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert len(batches) == 1


@pytest.mark.promise("P17", "P18", "P27")
@pytest.mark.parametrize("name", ["text", "tools", "vendor"])
async def test_a_recorded_stream_gives_the_same_at_every_split(name: str):
    """The bytes are cut in two at every position, on the way that the provider itself uses after the socket."""
    recorded = (FIXTURES / f"{name}.sse").read_bytes()
    whole_stream = decoded([recorded])
    assert whole_stream[-1].startswith(b'{"events":[{"type":"step.end"')
    for cut in range(len(recorded)):
        assert decoded([recorded[:cut], recorded[cut:]]) == whole_stream


def decoded(parts: list[bytes]) -> list[bytes]:
    from headrace.codecs.sse import SSEDecoder
    from headrace.dialects.openai_chat import ChatDecoder

    frames, decoder = SSEDecoder(), ChatDecoder("openai", "m")
    chunks = [decoder.feed(frame.data) for part in parts for frame in frames.feed(part)]
    return [msgspec.json.encode(chunk) for chunk in chunks if chunk is not None]


@pytest.mark.promise("P15", "P17")
@pytest.mark.parametrize("name", ["text", "tools", "vendor"])
async def test_a_recorded_stream_gives_the_same_in_single_bytes_and_pieces_over_a_socket(
    server: ScriptedServer, name: str
):
    recorded = (FIXTURES / f"{name}.sse").read_bytes()
    for size in (1, 7, 1000, len(recorded)):
        pieces = [chunk(recorded[start : start + size]) for start in range(0, len(recorded), size)]
        server.script(head(), *pieces, END)
    async with provider(server) as made:
        results = [comparable(await ask(made)) for _ in range(4)]
    assert results[0] == results[1] == results[2] == results[3] == decoded([recorded])


@pytest.mark.promise("P17")
async def test_vendor_fields_survive_verbatim(server: ScriptedServer):
    recorded = (FIXTURES / "vendor.sse").read_bytes()
    server.script(whole(recorded, content_type="text/event-stream"))
    async with provider(server) as made:
        batches = await ask(made)
    sent = [line[6:] for line in recorded.split(b"\n") if line.startswith(b"data: {")]
    assert [bytes(c.raw) for batch in batches for c in batch if c.raw is not None] == sent
    assert text_of(batches[0]) == "Two plus two?It is four."


@pytest.mark.promise("P18")
async def test_parallel_tool_calls_keep_their_ids_and_their_arguments(server: ScriptedServer):
    server.script(whole((FIXTURES / "tools.sse").read_bytes(), content_type="text/event-stream"))
    async with provider(server) as made:
        events = events_of(await ask(made))
    calls = {e.item: [e.call_id, ""] for e in events if isinstance(e, ItemStart) and e.kind == "tool_call"}
    for event in events:
        if isinstance(event, ArgsDelta):
            calls[event.item][1] = f"{calls[event.item][1]}{event.json}"
    assert list(calls.values()) == [
        ["chatcmpl-tool-0a4f6f2c", '{"city": "Zürich", "unit": "celsius"}'],
        ["chatcmpl-tool-9bd173e5", '{"city": "Bergen \\"Norge\\"",  "unit":"celsius"}'],
    ]


# The end


@pytest.mark.promise("P6")
@pytest.mark.parametrize("ending", [(END,), (Close(),)])
async def test_an_end_without_the_marker_is_incomplete(server: ScriptedServer, ending: tuple[Any, ...]):
    server.script(head(), chunk(delta(role="assistant", content="half"), delta("stop")), *ending)
    async with provider(server) as made:
        got, error = await failure(made)
    assert isinstance(error, UpstreamIncomplete)
    assert text_of(got) == "half"


@pytest.mark.promise("P6")
async def test_a_stream_without_any_frame_is_incomplete(server: ScriptedServer):
    server.script(head(), END)
    async with provider(server) as made:
        assert isinstance((await failure(made))[1], UpstreamIncomplete)


@pytest.mark.promise("P6")
async def test_the_marker_ends_the_stream_of_a_server_that_leaves_the_socket_open(server: ScriptedServer):
    server.script(head(), chunk(chat("x")), Wait(anyio.Event()))
    async with provider(server) as made:
        batches = await ask(made)
        assert isinstance(batches[-1][-1].events[-1], StepEnd)
        assert server.connections[0].client_has_closed


@pytest.mark.promise("P6")
async def test_a_cut_after_the_marker_is_no_failure(server: ScriptedServer):
    server.script(head(), chunk(chat("x")), Close())
    async with provider(server) as made:
        assert isinstance((await ask(made))[-1][-1].events[-1], StepEnd)


@pytest.mark.promise("P6")
async def test_whatever_follows_the_marker_is_ignored(server: ScriptedServer):
    server.script(head(), chunk(chat("x"), delta(content="late"), frame({"error": {"message": "late"}})), END)
    async with provider(server) as made:
        batches = await ask(made)
    assert text_of(batches[0]) == "x"
    assert isinstance(batches[-1][-1].events[-1], StepEnd)


async def test_the_connection_is_used_again_when_the_last_chunk_comes_on_its_own(server: ScriptedServer):
    gates = [anyio.Event() for _ in range(3)]
    for gate in gates:
        server.script(head(), chunk(chat("x")), Wait(gate), END)
    async with provider(server) as made:
        for gate in gates:
            async with aclosing(made.stream(QUESTION, "m")) as chunks:
                async for batch in chunks:
                    if isinstance(batch[-1].events[-1], StepEnd):
                        gate.set()
    assert [request.connection for request in server.requests] == [0, 0, 0]


@pytest.mark.promise("P7")
async def test_closing_the_generator_closes_the_socket_first(server: ScriptedServer):
    server.script(head(), chunk(delta(role="assistant", content="a")), Wait(anyio.Event()))
    async with provider(server) as made:
        chunks = made.stream(QUESTION, "m")
        await anext(chunks)
        assert not server.connections[0].client_has_closed
        await chunks.aclose()
        assert server.connections[0].client_has_closed


@pytest.mark.promise("P7")
async def test_cancelling_the_reader_closes_the_socket_first(server: ScriptedServer):
    server.script(head(), chunk(delta(role="assistant", content="a")), Wait(anyio.Event()))
    begun = anyio.Event()

    async def read(made: ModelServer) -> None:
        async with aclosing(made.stream(QUESTION, "m")) as chunks:
            async for _ in chunks:
                begun.set()

    async with provider(server) as made:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, made)
            await begun.wait()
            tasks.cancel_scope.cancel()
        assert server.connections[0].client_has_closed


# Errors


@pytest.mark.promise("P19", "P25")
async def test_a_rejection_reaches_the_caller_as_it_is(server: ScriptedServer):
    body = {"error": {"message": "too long", "type": "x", "param": "messages", "code": "context_length_exceeded"}}
    server.script(whole(json.dumps(body).encode(), status=400))
    async with provider(server) as made:
        got, error = await failure(made)
    assert not got
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.message, error.param) == (400, "too long", "messages")
    assert error.error_code == "context_length_exceeded"


@pytest.mark.promise("P36")
async def test_a_rejection_that_quotes_a_key_is_masked(server: ScriptedServer):
    body = {"error": {"message": "bad header Bearer my-own-secret and my-own-secret"}}
    server.script(whole(json.dumps(body).encode(), status=400))
    async with provider(server, api_key=Secret("my-own-secret")) as made:
        assert (await failure(made))[1].message == "bad header *** and ***"


async def test_a_refused_key_is_not_the_callers_to_mend(server: ScriptedServer):
    server.script(whole(b'{"error":{"message":"bad key"}}', status=401))
    async with provider(server) as made:
        assert isinstance((await failure(made))[1], UpstreamAuth)


@pytest.mark.promise("P22", "P36")
async def test_an_error_in_the_stream_comes_after_the_chunks_of_its_read_and_without_keys(server: ScriptedServer):
    problem = frame({"error": {"message": "key my-own-secret ran out", "code": 500}})
    server.script(head(), chunk(delta(role="assistant", content="half"), problem, delta(content="never")), END)
    async with provider(server, api_key=Secret("my-own-secret")) as made:
        got, error = await failure(made)
    assert text_of(got) == "half"
    assert isinstance(error, UpstreamError)
    assert error.message == "The model server failed: key *** ran out"


async def test_a_rate_limit_in_the_stream_is_one(server: ScriptedServer):
    server.script(head(), chunk(frame({"error": {"message": "slow down", "code": 429}})), END)
    async with provider(server) as made:
        assert isinstance((await failure(made))[1], RateLimited)


@pytest.mark.promise("P15")
@pytest.mark.parametrize("parts", [1, 50])
async def test_a_line_over_the_limit_is_an_error_after_what_came_before_it(server: ScriptedServer, parts: int):
    line = b"data: " + b"x" * 2000
    step = len(line) // parts
    pieces = [chunk(line[start : start + step]) for start in range(0, len(line), step)]
    server.script(head(), chunk(delta(role="assistant", content="half")), *pieces, Wait(anyio.Event()))
    async with provider(server, max_line=1000) as made:
        got, error = await failure(made)
        assert server.connections[0].client_has_closed
    assert text_of(got) == "half"
    assert isinstance(error, UpstreamProtocol)
    assert "1000 bytes" in error.message


async def test_a_frame_that_is_not_json_is_a_protocol_error(server: ScriptedServer):
    server.script(head(), chunk(b"data: {oops\n\n"), END)
    async with provider(server) as made:
        assert isinstance((await failure(made))[1], UpstreamProtocol)


async def test_a_web_page_in_place_of_a_stream_is_named(server: ScriptedServer):
    server.script(whole(b"<html></html>", content_type="text/html"))
    async with provider(server) as made:
        error = (await failure(made))[1]
    assert "text/html" in error.message
    assert "base_url" in error.message


# Handed on


async def test_nothing_is_pushed_while_something_is_waited_for(server: ScriptedServer):
    texts = ["a", "b", "c", "d"]
    server.script(head(), *(chunk(delta(role="assistant", content=text)) for text in texts), chunk(DONE), END)
    got: list[Chunk] = []
    free = True

    async def work() -> None:
        nonlocal free
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        free = True

    def take(batch: list[Chunk]) -> Coroutine[Any, Any, None]:
        nonlocal free
        assert free
        free = False
        got.extend(batch)
        return work()

    async with provider(server) as made:
        await made.push(QUESTION, "m", take)
    assert free
    assert text_of(got) == "abcd"
    assert isinstance(got[-1].events[-1], StepEnd)


@pytest.mark.promise("P13")
@pytest.mark.parametrize(
    "ending", [frame({"error": {"message": "it broke"}}), DONE], ids=["before the error", "before the end"]
)
async def test_the_last_batch_is_waited_for_before_what_follows_it(server: ScriptedServer, ending: bytes):
    server.script(head(), chunk(delta(role="assistant", content="half"), ending), END)
    done: list[str] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("work")

    async with provider(server) as made:
        try:
            await made.push(QUESTION, "m", lambda batch: work())
        except UpstreamError:
            done.append("error")
    assert done == (["work"] if ending == DONE else ["work", "error"])


@pytest.mark.parametrize("problem", [ValueError("no"), TimeoutError("late")], ids=repr)
async def test_what_the_taker_raises_ends_the_push_and_the_request(server: ScriptedServer, problem: Exception):
    server.script(head(), chunk(delta(role="assistant", content="a")), Wait(anyio.Event()))

    def take(batch: list[Chunk]) -> None:
        raise problem

    async with provider(server) as made:
        with pytest.raises(type(problem)) as caught:
            await made.push(QUESTION, "m", take)
        assert caught.value is problem
        assert server.connections[0].client_has_closed


@pytest.mark.promise("P7")
async def test_cancelling_a_push_closes_the_socket_first(server: ScriptedServer):
    server.script(head(), chunk(delta(role="assistant", content="a")), Wait(anyio.Event()))
    async with provider(server) as made:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.push, QUESTION, "m", lambda batch: tasks.cancel_scope.cancel())
        assert server.connections[0].client_has_closed


# Servers that cannot stream

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "scripted",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


@pytest.mark.promise("P12")
async def test_a_server_that_cannot_stream_is_asked_for_the_whole_and_gives_a_stream(server: ScriptedServer):
    server.script(whole(json.dumps(COMPLETION).encode()))
    async with provider(server, stream="force") as made:
        batches = await ask(made)
        await ask(made)
    assert server.requests[0].json()["stream"] is False
    assert "stream_options" not in server.requests[0].json()
    assert server.requests[0].headers["accept"] == "application/json"
    assert text_of(batches[0]) == "whole"
    assert batches[-1][-1].events == (StepEnd("stop", Usage(1, 2)),)
    assert [request.connection for request in server.requests] == [0, 0]


async def test_a_whole_answer_over_the_limit_is_an_error(server: ScriptedServer):
    server.script(whole(json.dumps(COMPLETION).encode()))
    async with provider(server, max_line=100, stream="force") as made:
        assert isinstance((await failure(made))[1], UpstreamProtocol)


@pytest.mark.promise("P36")
async def test_an_error_in_place_of_the_whole_answer_is_one(server: ScriptedServer):
    server.script(whole(b'{"error":{"message":"key my-own-secret ran out"}}'))
    async with provider(server, stream="force", api_key=Secret("my-own-secret")) as made:
        got, error = await failure(made)
    assert not got
    assert isinstance(error, UpstreamError)
    assert error.message.endswith("key *** ran out")


@pytest.mark.parametrize("body", [b"[]", b"{oops", b'{"choices":[{}]}', b'{"detail":"what?"}'])
async def test_what_is_no_completion_is_a_protocol_error(server: ScriptedServer, body: bytes):
    server.script(whole(body))
    async with provider(server, stream="force") as made:
        got, error = await failure(made)
    assert not got
    assert isinstance(error, UpstreamProtocol)


# The table


@pytest.mark.parametrize(
    ("model", "kind", "name"),
    [
        (Model(name="a", upstream_model="m", provider="groq", base_url="http://x"), ModelServer, "groq"),
        (Model(name="a", upstream_model="smollm2-135m", provider="local", protocol="local"), LocalProvider, "local"),
        (Model(name="a", upstream_model="/x.sse", provider="replay", protocol="replay"), ReplayProvider, "replay"),
    ],
)
async def test_every_protocol_has_its_provider(model: Model, kind: type[object], name: str):
    made = create(model, Config())
    assert isinstance(made, kind)
    assert made.name == name
    await made.close()


async def test_the_table_has_every_protocol_of_the_configuration():
    from typing import get_args

    from headrace.config.providers import Protocol

    assert set(PROTOCOLS) == set(get_args(Protocol))
