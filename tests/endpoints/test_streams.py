"""`/v1/streams`: make, list, look at, stop, remove."""

from typing import Any

import anyio
import pytest

from headrace.errors import NotFound, UpstreamIncomplete
from headrace.events import Record, StreamStart
from headrace.stores.base import StreamInfo, StreamState
from headrace.stores.memory import MemoryStore
from tests.endpoints.serving import (
    ASKED,
    CHAT,
    ENDING,
    HELLO,
    OPENING,
    SSE,
    STREAMED,
    STREAMS,
    UNKNOWN,
    Server,
    serving,
    text,
)

pytestmark = pytest.mark.anyio


async def ended(server: Server, stream_id: str) -> dict[str, Any]:
    while (state := (await server.ask("GET", f"{STREAMS}/{stream_id}")).json())["state"] == "running":
        pass
    return state


@pytest.mark.promise("P1", "P13", "P31")
async def test_making_a_stream_answers_at_once_with_its_id() -> None:
    async with serving([anyio.Event()]) as server:
        answer = await server.ask("POST", STREAMS, {**ASKED, "metadata": {"ticket": "7"}})
        stream_id = answer.stream_id
        assert answer.status == 201 and len(stream_id) == 32
        location = f"{STREAMS}/{stream_id}"
        assert answer.headers["location"] == location
        assert answer.json() == {"id": stream_id, "state": "running", "model": "demo", "location": location}
        state = (await server.ask("GET", location)).json()
        assert state["metadata"] == {"ticket": "7"} and state["readers"] == 0


@pytest.mark.promise("P1", "P13", "P16")
@pytest.mark.parametrize(("body", "headers"), [(ASKED, SSE), ({**ASKED, "stream": True}, {})], ids=["accept", "body"])
async def test_making_a_stream_can_answer_with_the_stream_itself(body: Any, headers: dict[str, str]) -> None:
    gate = anyio.Event()
    async with serving([gate, *HELLO]) as server:
        answer = await server.open("POST", STREAMS, body, headers)
        assert answer.status == 200
        assert answer.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache, no-transform",
            "x-accel-buffering": "no",
            "headrace-stream-id": answer.stream_id,
            "location": f"{STREAMS}/{answer.stream_id}",
        }
        gate.set()
        await answer.end()
    assert answer.complete
    frames = answer.frames()
    assert [frame.id for frame in frames] == [f"n1.{number}" for number in range(1, len(frames) + 1)]
    assert answer.chunks()[0]["events"][0]["type"] == "stream.start"
    assert answer.chunks()[-1]["events"][-1] == {"type": "finished", "reason": "stop"}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("policy", ["", "cancel", "grace=30"])
async def test_a_stream_that_was_only_made_is_not_left_by_its_maker(policy: str) -> None:
    gate = anyio.Event()
    headers = {"headrace-on-disconnect": policy} if policy else {}
    async with serving([gate, *HELLO]) as server:
        made = await server.ask("POST", STREAMS, ASKED, headers)
        server.clock.advance(29)
        reading = await server.open("GET", made.headers["location"] + "/events")
        gate.set()
        await reading.end()
        assert reading.complete and b'"finished"' in reading.body


async def test_a_stream_shows_its_state_text_usage_position_and_readers() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, text("lo"), ENDING]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        for public_id in (posted.stream_id, f"chatcmpl-{posted.stream_id}"):
            state = (await server.ask("GET", f"{STREAMS}/{public_id}")).json()
            assert (state["state"], state["text"], state["readers"]) == ("running", "Hel", 1)
            assert state["id"] == posted.stream_id and state["dialect"] == "openai.chat" and state["position"] == 3
        gate.set()
        await posted.end()
        state = (await server.ask("GET", f"{STREAMS}/{posted.stream_id}")).json()
    assert (state["state"], state["text"], state["readers"]) == ("finished", "Hello", 0)
    assert state["usage"]["input"] == 3 and state["finish_reason"] == "stop" and state["ended_ms"] is not None


async def test_a_failed_stream_keeps_its_text_and_says_why() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]) as server:
        made = await server.ask("POST", STREAMS, ASKED)
        state = await ended(server, made.stream_id)
    assert (state["state"], state["text"], state["error"]["code"]) == ("failed", "Hel", "upstream_incomplete")


async def test_the_list_is_newest_first_in_pages_and_by_state() -> None:
    async with serving(HELLO, HELLO, HELLO, [anyio.Event()]) as server:
        ids = [(await server.ask("POST", STREAMS, ASKED)).stream_id for _ in range(4)]
        newest = ids[::-1]
        for stream_id in ids[:3]:
            await ended(server, stream_id)
        whole = (await server.ask("GET", STREAMS)).json()
        assert [row["id"] for row in whole["data"]] == newest and not whole["has_more"] and whole["next"] is None
        first = (await server.ask("GET", f"{STREAMS}?limit=3")).json()
        assert [row["id"] for row in first["data"]] == newest[:3] and first["has_more"]
        for before in (first["next"], "chatcmpl-" + first["next"]):
            second = (await server.ask("GET", f"{STREAMS}?limit=3&before={before}")).json()
            assert [row["id"] for row in second["data"]] == newest[3:] and not second["has_more"]
        running = (await server.ask("GET", f"{STREAMS}?state=running")).json()["data"]
        assert [(row["id"], row["state"]) for row in running] == [(ids[3], "running")]
        finished = (await server.ask("GET", f"{STREAMS}?state=finished&limit=1")).json()
        assert [row["id"] for row in finished["data"]] == [ids[2]] and finished["has_more"]
        assert (await server.ask("GET", f"{STREAMS}?state=failed")).json()["data"] == []


class _Forgetful(MemoryStore):
    """Lists a stream that is gone when its log is read, as it happens between two calls of a shared store."""

    async def list(self, owner: str, state: StreamState | None, before: str | None, limit: int) -> list[StreamInfo]:
        found = list(await super().list(owner, state, before, limit))
        return [StreamInfo(UNKNOWN, owner, "running", 1, 0, None, 0), *found]


async def test_a_stream_that_goes_away_while_the_list_is_made_is_left_out() -> None:
    async with serving(store=_Forgetful(now=lambda: 0.0)) as server:
        made = await server.ask("POST", STREAMS, ASKED)
        listed = await server.ask("GET", STREAMS)
    assert listed.status == 200 and [row["id"] for row in listed.json()["data"]] == [made.stream_id]


@pytest.mark.promise("P7")
async def test_a_cancel_is_answered_after_the_provider_has_closed_and_can_be_repeated() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        answer = await server.ask("POST", f"{STREAMS}/chatcmpl-{posted.stream_id}/cancel")
        assert server.provider.closed == 1
        assert answer.status == 200 and answer.json()["state"] == "cancelled" and answer.json()["text"] == "Hel"
        assert answer.json()["cancelled_by"] == "client" and answer.json()["usage"]["source"] == "partial"
        again = await server.ask("POST", f"{STREAMS}/{posted.stream_id}/cancel")
        assert again.status == 200 and again.json()["position"] == answer.json()["position"]
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P7")
async def test_a_finished_stream_stays_finished_when_it_is_cancelled() -> None:
    async with serving() as server:
        posted = await server.stream()
        answer = await server.ask("POST", f"{STREAMS}/{posted.stream_id}/cancel")
    assert answer.status == 200 and answer.json()["state"] == "finished"


@pytest.mark.promise("P7", "P10")
@pytest.mark.parametrize(
    ("made_at", "body", "route"),
    [
        (CHAT, STREAMED, None),
        (CHAT, STREAMED, CHAT),
        (STREAMS, ASKED, None),
        ("/stream?prompt=Hi", None, None),
    ],
)
async def test_a_stream_is_cancelled_by_its_idempotency_key(made_at: str, body: object, route: str | None) -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        method = "GET" if body is None else "POST"
        made = await server.open(method, made_at, body, {"idempotency-key": "order-7"})
        asked = {"idempotency_key": "order-7"} | ({"route": route} if route else {})
        answer = await server.ask("POST", f"{STREAMS}/cancel", asked)
        assert answer.status == 200 and answer.json()["id"] == made.stream_id
        assert answer.json()["state"] == "cancelled" and server.provider.closed == 1


@pytest.mark.promise("P10")
async def test_a_key_that_no_stream_has_on_that_route_cancels_nothing() -> None:
    async with serving([[OPENING], anyio.Event()]) as server:
        made = await server.open("POST", CHAT, STREAMED, {"idempotency-key": "k"})
        for asked in ({"idempotency_key": "k", "route": STREAMS}, {"idempotency_key": "other"}):
            assert (await server.ask("POST", f"{STREAMS}/cancel", asked)).status == 404
        assert (await server.ask("GET", f"{STREAMS}/{made.stream_id}")).json()["state"] == "running"
        # Asking for a key must not take it.
        assert (await server.ask("POST", STREAMS, ASKED, {"idempotency-key": "other"})).status == 201


@pytest.mark.promise("P7")
async def test_a_delete_stops_a_running_stream_first_and_then_it_is_unknown_everywhere() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED, {"idempotency-key": "k"})).has(b"Hel")
        answer = await server.ask("DELETE", f"{STREAMS}/{posted.stream_id}")
        assert (answer.status, answer.body, server.provider.closed) == (204, b"", 1)
        await posted.end()
        assert posted.aborted
        for method, target in ROUTES_OF_A_STREAM:
            gone = await server.ask(method, target.format(posted.stream_id))
            assert gone.status == 404, target
        assert (await server.ask("POST", f"{STREAMS}/cancel", {"idempotency_key": "k"})).status == 404
        assert (await server.ask("GET", STREAMS)).json()["data"] == []


ROUTES_OF_A_STREAM = [
    ("GET", "/v1/streams/{}"),
    ("GET", "/v1/streams/{}/events"),
    ("GET", "/v1/streams/{}/events?format=text"),
    ("POST", "/v1/streams/{}/cancel"),
    ("DELETE", "/v1/streams/{}"),
    ("GET", "/v1/chat/completions/{}"),
    ("GET", "/v1/chat/completions/chatcmpl-{}"),
    ("GET", "/stream?last_event_id={}:c1.1"),
]


@pytest.mark.promise("P9")
async def test_a_stream_whose_retention_is_over_is_unknown() -> None:
    async with serving(retention_seconds=60.0) as server:
        posted = await server.stream()
        server.clock.advance(59)
        assert (await server.ask("GET", f"{STREAMS}/{posted.stream_id}")).status == 200
        server.clock.advance(2)
        for method, target in ROUTES_OF_A_STREAM:
            assert (await server.ask(method, target.format(posted.stream_id))).status == 404


class _Elsewhere(MemoryStore):
    """Another node produces: a cancel request is never confirmed."""

    async def request_cancel(self, stream_id: str, by: str) -> None:
        return

    async def wait(self, stream_id: str, after: int) -> None:
        await anyio.sleep_forever()


@pytest.mark.promise("P7")
async def test_a_cancel_that_its_node_does_not_confirm_is_202() -> None:
    store = _Elsewhere(now=lambda: 0.0)
    async with serving(store=store) as server:
        lease = await store.acquire(UNKNOWN, "anonymous", b"{}", 10)
        await store.append(lease, 0, [Record(0, 0, (StreamStart(UNKNOWN, "anonymous", 0, "demo", "native"),))])
        await store.claim("idempotency\nanonymous\n/v1/streams\nk", f"{UNKNOWN}:digest", 10)
        for target, body in ((f"{STREAMS}/{UNKNOWN}/cancel", None), (f"{STREAMS}/cancel", {"idempotency_key": "k"})):
            exchange = server.begin("POST", target, body)
            while not exchange.over:
                await server.ask("GET", "/health")
                server.clock.advance(1)
            assert exchange.status == 202 and exchange.json()["state"] == "running"


@pytest.mark.promise("P28")
async def test_what_no_store_has_was_never_shown() -> None:
    store = MemoryStore(now=lambda: 0.0)
    async with serving(store=store) as server:
        posted = await server.stream()
        await store.delete(posted.stream_id)
        with pytest.raises(NotFound):
            await store.status(posted.stream_id)
        assert (await server.ask("GET", posted.headers["location"])).status == 404
