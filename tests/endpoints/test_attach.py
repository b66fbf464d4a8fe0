"""`/v1/streams/{id}/events`: any format, any bytes, from any position."""

import json

import anyio
import pytest

from headrace.dialects import DIALECTS
from headrace.errors import UpstreamIncomplete
from tests.endpoints.serving import CHAT, ENDING, OPENING, SSE, STREAMED, STREAMS, Exchange, Server, serving, text

pytestmark = pytest.mark.anyio

NDJSON = {"accept": "application/x-ndjson"}
PLAIN = {"accept": "text/plain"}


async def events(server: Server, stream_id: str, query: str = "", headers: dict[str, str] | None = None) -> Exchange:
    return await server.ask("GET", f"{STREAMS}/{stream_id}/events{query}", None, headers)


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("query", "headers", "media_type", "opening"),
    [
        ("", {}, "text/event-stream", b'retry: 2000\nid: n1.1\ndata: {"seq":0'),
        ("", {"accept": "*/*"}, "text/event-stream", b"retry: 2000\nid: n1.1\n"),
        ("?format=native", SSE, "text/event-stream", b"retry: 2000\nid: n1.1\n"),
        ("?format=openai.chat", {}, "text/event-stream", b"retry: 2000\nid: c1.1\ndata: {"),
        ("?format=openai.chat&include_usage=1", {}, "text/event-stream", b"retry: 2000\nid: c1u.1\n"),
        ("?format=openai.chat", NDJSON, "application/x-ndjson", b'{"id":"chatcmpl-'),
        (
            "?format=openai.responses",
            {},
            "text/event-stream",
            b'retry: 2000\nid: r1.1\nevent: response.created\ndata: {"type":"response.created","sequence_number":0,',
        ),
        (
            "?format=anthropic.messages",
            {},
            "text/event-stream",
            b"retry: 2000\nid: a1.1\nevent: message_start\ndata: {",
        ),
        ("?format=anthropic.messages", NDJSON, "application/x-ndjson", b'{"type":"message_start"'),
        ("", NDJSON, "application/x-ndjson", b'{"seq":0'),
        ("?format=text", {}, "text/plain", "Hello wörld".encode()),
        ("", PLAIN, "text/plain", "Hello wörld".encode()),
        ("?format=text", SSE, "text/event-stream", b'retry: 2000\nid: t1.5\ndata: "Hello"\n\nid: t1.12\n'),
        ("?format=text", NDJSON, "application/x-ndjson", '"Hello"\n" wörld"\n'.encode()),
        ("", {"accept": "text/plain;q=0, application/x-ndjson"}, "application/x-ndjson", b'{"seq":0'),
        ("", {"accept": "Text/Event-Stream; q=0.5, text/plain"}, "text/event-stream", b"retry: 2000\n"),
        ("", {"accept": "text/plainly"}, "text/event-stream", b"retry: 2000\n"),
    ],
)
async def test_the_format_and_the_accepted_type_decide_the_bytes(
    query: str, headers: dict[str, str], media_type: str, opening: bytes
) -> None:
    async with serving() as server:
        posted = await server.stream()
        answer = await events(server, posted.stream_id, query, headers)
    assert answer.status == 200 and answer.complete and answer.body.startswith(opening)
    assert answer.headers == {
        "content-type": f"{media_type}; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "headrace-stream-id": posted.stream_id,
    }


@pytest.mark.promise("P4", "P9")
@pytest.mark.parametrize("query", [f"?format={name}" for name in DIALECTS])
async def test_every_frame_of_sse_is_a_place_to_resume_from(query: str) -> None:
    async with serving() as server:
        posted = await server.stream()
        whole = (await events(server, posted.stream_id, query, SSE)).frames()
        for number, frame in enumerate(whole, 1):
            rest = await events(server, posted.stream_id, query, SSE | {"last-event-id": frame.id})
            assert rest.status == (200 if number < len(whole) else 204)
            assert [each.data for each in rest.frames()] == [each.data for each in whole[number:]]


@pytest.mark.promise("P4", "P9")
@pytest.mark.parametrize("query", [f"?format={name}" for name in DIALECTS if name != "text"])
async def test_lines_are_skipped_by_their_number(query: str) -> None:
    async with serving() as server:
        posted = await server.stream()
        whole = (await events(server, posted.stream_id, query, NDJSON)).body.splitlines()
        for number in range(len(whole) + 1):
            rest = await events(server, posted.stream_id, f"{query}&skip={number}", NDJSON)
            assert rest.status == (200 if number < len(whole) else 204)
            assert rest.body.splitlines() == whole[number:]


@pytest.mark.promise("P4", "P9")
async def test_text_is_skipped_by_its_bytes_also_inside_a_character() -> None:
    whole = "Hello wörld".encode()
    async with serving() as server:
        posted = await server.stream()
        for number in range(len(whole) + 1):
            rest = await events(server, posted.stream_id, f"?skip={number}", PLAIN)
            assert rest.status == (200 if number < len(whole) else 204) and rest.body == whole[number:]


@pytest.mark.promise("P9")
async def test_the_cursor_beats_the_query() -> None:
    async with serving() as server:
        posted = await server.stream()
        whole = await events(server, posted.stream_id, "?format=openai.chat&include_usage=true")
        last = whole.frames()[1].id
        assert last == "c1u.2"
        rest = await events(server, posted.stream_id, f"?include_usage=0&skip=1&last_event_id={last}")
    assert [frame.data for frame in rest.frames()] == [frame.data for frame in whole.frames()[2:]]


@pytest.mark.promise("P5", "P9")
async def test_the_end_of_a_failed_text_says_that_it_failed() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]) as server:
        posted = await server.stream()
        whole = await events(server, posted.stream_id, "?format=text")
        assert whole.aborted and whole.body == b"Hel"
        rest = await events(server, posted.stream_id, "?format=text&skip=3")
    assert rest.status == 502 and rest.error_fields()["code"] == "upstream_incomplete"
    assert rest.headers["x-should-retry"] == "false" and rest.stream_id == posted.stream_id


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("query", "headers", "clean"),
    [
        ("?format=native", SSE, True),
        ("?format=native", NDJSON, True),
        ("?format=openai.responses", SSE, True),
        ("?format=openai.responses", NDJSON, True),
        ("?format=openai.chat", SSE, False),
        ("?format=openai.chat", NDJSON, False),
        ("?format=text", {}, False),
        ("?format=text", SSE, False),
    ],
)
async def test_only_a_format_that_can_say_how_it_ended_ends_cleanly_after_a_failure(
    query: str, headers: dict[str, str], clean: bool
) -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]) as server:
        posted = await server.stream()
        answer = await events(server, posted.stream_id, query, headers)
    assert answer.complete is clean and answer.aborted is not clean
    assert b"DONE" not in answer.body


@pytest.mark.promise("P2", "P9")
async def test_a_chat_stream_can_be_watched_in_three_formats_at_once() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, text("lo"), ENDING]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        path = f"{STREAMS}/chatcmpl-{posted.stream_id}/events?format="
        readers = [await server.open("GET", path + name) for name in ("native", "openai.chat", "text")]
        for reader in readers:
            await reader.has(b"Hel")
        assert (await server.ask("GET", f"{STREAMS}/{posted.stream_id}")).json()["readers"] == 4
        await readers[1].leave()
        gate.set()
        await readers[0].end()
        await readers[2].end()
        await posted.end()
        assert len(server.provider.asked) == 1
    assert readers[2].body == b"Hello" and posted.complete
    assert json.loads(readers[0].frames()[-1].data)["events"][-1]["type"] == "finished"


@pytest.mark.promise("P7", "P9")
async def test_every_reader_sees_the_cancelled_terminal() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        native = await server.open("GET", f"{STREAMS}/{posted.stream_id}/events")
        await server.ask("POST", f"{STREAMS}/{posted.stream_id}/cancel")
        await native.end()
        await posted.end()
    assert native.complete and native.chunks()[-1]["events"][-1] == {"type": "cancelled", "by": "client"}
    assert posted.aborted and posted.chunks()[-1]["error"]["code"] == "cancelled"


@pytest.mark.promise("P9")
async def test_a_reader_of_a_running_stream_that_has_everything_so_far_waits_for_more() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, text("lo"), ENDING]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        waiting = await server.open("GET", f"{STREAMS}/{posted.stream_id}/events?format=text&skip=3")
        assert waiting.status == 200 and waiting.body == b""
        gate.set()
        await waiting.end()
    assert waiting.body == b"lo" and waiting.complete
