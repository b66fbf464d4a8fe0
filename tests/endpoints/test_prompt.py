"""`GET /stream`: a question in a URL, read by a browser's `EventSource`."""

import anyio
import pytest

from headrace.config import Model
from headrace.errors import UpstreamIncomplete, UpstreamUnavailable
from tests.endpoints.serving import (
    ENDING,
    HELLO,
    OPENING,
    SSE,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    Server,
    serving,
    text,
)

pytestmark = pytest.mark.anyio

URL = "/stream?prompt=Hi%20there&model=demo"


class EventSource:
    """What a browser does with one URL (WHATWG HTML 9.2): the same request again, with the last id, until 204."""

    def __init__(self, server: Server, url: str = URL) -> None:
        self._server = server
        self._url = url
        self.last_event_id = ""
        self.data: list[bytes] = []
        self.connections: list[Exchange] = []

    async def connect(self) -> Exchange:
        kept = {"last-event-id": self.last_event_id} if self.last_event_id else {}
        answer = await self._server.open("GET", self._url, None, SSE | {"cache-control": "no-cache"} | kept)
        self.connections.append(answer)
        return answer

    def take(self) -> None:
        """Take what the last connection brought: complete frames only."""
        frames = self.connections[-1].frames()
        self.data += [frame.data for frame in frames]
        self.last_event_id = frames[-1].id if frames else self.last_event_id


@pytest.mark.promise("P1", "P4", "P9")
@pytest.mark.parametrize("format", ["", "&format=native", "&format=text"])
async def test_a_browsers_reconnects_resume_the_stream_and_stop_at_its_end(format: str) -> None:
    gates = [anyio.Event() for _ in range(2)]
    script = [[OPENING], text("Hello"), gates[0], text(" wörld"), gates[1], text("!"), ENDING]
    async with serving(script) as server:
        source = EventSource(server, URL + format)
        await (await source.connect()).has(b"Hello")
        await source.connections[-1].leave()
        source.take()
        await source.connect()
        gates[0].set()
        await source.connections[-1].has("wörld".encode())
        await source.connections[-1].leave()
        source.take()
        gates[1].set()
        await (await source.connect()).end()
        source.take()
        end = await source.connect()
        assert (end.status, end.body) == (204, b"")
        whole = EventSource(server, URL + format)
        whole.last_event_id = source.last_event_id.partition(":")[0] + ":" + first_cursor(format)
        await (await whole.connect()).end()
        whole.take()
        assert source.data == whole.data and len(server.provider.asked) == 1
        assert len({answer.stream_id for answer in source.connections}) == 1


def first_cursor(format: str) -> str:
    return {"": "c1.0", "&format=native": "n1.0", "&format=text": "t1.0"}[format]


@pytest.mark.promise("P1", "P16")
async def test_every_id_names_the_stream_and_the_place() -> None:
    async with serving() as server:
        answer = await server.ask("GET", URL, None, SSE)
    assert answer.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "headrace-stream-id": answer.stream_id,
        "location": f"{STREAMS}/{answer.stream_id}",
    }
    assert [frame.id for frame in answer.frames()] == [f"{answer.stream_id}:c1.{n}" for n in range(1, 6)]
    assert answer.body.startswith(b"retry: 2000\nid: ")
    assert [message.text for message in server.provider.asked[0].messages] == ["Hi there"]


@pytest.mark.promise("P31")
async def test_the_id_may_have_the_chat_shapes_prefix() -> None:
    async with serving() as server:
        answer = await server.ask("GET", URL)
        rest = await server.ask("GET", f"{URL}&last_event_id=chatcmpl-{answer.stream_id}:c1.4")
    assert [frame.data for frame in rest.frames()] == [b"[DONE]"]


async def test_curl_reads_plain_text() -> None:
    async with serving() as server:
        answer = await server.ask("GET", "/stream?prompt=Hi&format=text", None, {"accept": "*/*"})
    assert answer.body.decode() == "Hello wörld" and answer.headers["content-type"].startswith("text/plain")


async def test_the_first_model_is_asked_when_none_is_named() -> None:
    async with serving() as server:
        await server.ask("GET", "/stream?prompt=Hi")
    assert server.provider.asked[0].model == "demo"


async def test_a_server_of_wildcards_has_no_model_to_fall_back_on() -> None:
    async with serving(models=(Model(name="*", upstream_model="*"),)) as server:
        answer = await server.ask("GET", "/stream?prompt=Hi")
        assert answer.status == 400 and answer.error_fields()["param"] == "model"
        assert (await server.ask("GET", "/stream?prompt=Hi&model=any")).status == 200


@pytest.mark.promise("P9", "P25")
@pytest.mark.parametrize(
    ("kept", "status"),
    [
        (f"{UNKNOWN}:c1.1", 404),
        ("nonsense:c1.1", 404),
        (":c1.1", 404),
        ("c1.1", 400),
        (UNKNOWN, 400),
        ("7", 400),
    ],
)
async def test_an_unknown_last_event_id_never_asks_the_model_again(kept: str, status: int) -> None:
    async with serving() as server:
        for headers, query in (({"last-event-id": kept}, ""), ({}, f"&last_event_id={kept}")):
            answer = await server.ask("GET", URL + query, None, SSE | headers)
            assert answer.status == status and answer.json()["error"]["code"] in ("not_found", "invalid_cursor")
        assert server.provider.asked == []


@pytest.mark.promise("P25")
async def test_a_cursor_of_another_format_than_the_urls_is_refused() -> None:
    async with serving() as server:
        answer = await server.ask("GET", URL)
        for cursor in ("n1.1", "c9.1", "c1z.1", "c1.99", "x1.1"):
            refused = await server.ask("GET", f"{URL}&format=openai.chat&last_event_id={answer.stream_id}:{cursor}")
            assert refused.status == 400 and refused.error_fields()["param"] == "last_event_id", cursor
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P13")
async def test_a_failure_before_the_first_frame_is_an_http_error_also_here() -> None:
    async with serving([UpstreamUnavailable("Down.")]) as server:
        for format in ("", "&format=native", "&format=text"):
            assert (await server.ask("GET", URL + format)).status == 503


@pytest.mark.promise("P5", "P9")
async def test_after_a_failure_a_browser_gets_the_error_once_and_then_204() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]) as server:
        source = EventSource(server)
        await (await source.connect()).end()
        source.take()
        assert source.connections[0].aborted and b"upstream_incomplete" in source.data[-1]
        assert (await source.connect()).status == 204
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P8")
async def test_a_browser_has_30_seconds_to_come_back() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        answer = await (await server.open("GET", URL)).has(b"Hel")
        await answer.leave()
        server.clock.advance(29)
        again = await server.open("GET", f"{URL}&last_event_id={answer.stream_id}:c1.1")
        server.clock.advance(1000)
        assert again.status == 200 and server.provider.closed == 0
        await again.leave()
        server.clock.advance(30)
        stream = f"{STREAMS}/{answer.stream_id}"
        while (state := (await server.ask("GET", stream)).json())["state"] == "running":
            pass
        assert state["cancelled_by"] == "disconnect" and server.provider.closed == 1


@pytest.mark.promise("P10")
async def test_an_idempotency_key_holds_here_too() -> None:
    async with serving(HELLO, api_keys=TWO_KEYS, key="alice-s3cret-key") as server:
        first = await server.ask("GET", URL, None, {"idempotency-key": "k"})
        second = await server.ask("GET", URL, None, {"idempotency-key": "k"})
        assert second.headers["idempotent-replayed"] == "true" and second.body == first.body
        assert len(server.provider.asked) == 1
