"""`/v1/chat/completions`: posted, streamed or whole, and read again."""

import json

import anyio
import pytest

from headrace.errors import BadRequest, RateLimited, UpstreamIncomplete, UpstreamRejected, UpstreamUnavailable
from tests.endpoints.serving import ASKED, CHAT, ENDING, HELLO, OPENING, SSE, STREAMED, UNKNOWN, serving, text

pytestmark = pytest.mark.anyio

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


@pytest.mark.promise("P1", "P16", "P31")
async def test_a_stream_has_exactly_these_headers_with_its_id_among_them() -> None:
    async with serving() as server:
        answer = await server.stream()
    stream_id = answer.stream_id
    assert len(stream_id) == 32 and int(stream_id, 16) >= 0
    assert answer.headers == STREAM_HEADERS | {
        "headrace-stream-id": stream_id,
        "location": f"{CHAT}/chatcmpl-{stream_id}",
    }


@pytest.mark.promise("P31")
async def test_ids_differ_and_every_chunk_carries_the_same_one() -> None:
    async with serving() as server:
        answers = [await server.stream() for _ in range(3)]
    assert len({answer.stream_id for answer in answers}) == 3
    for answer in answers:
        assert {chunk["id"] for chunk in answer.chunks()} == {f"chatcmpl-{answer.stream_id}"}


@pytest.mark.promise("P14")
async def test_a_posted_stream_has_no_ids_and_no_retry() -> None:
    async with serving() as server:
        answer = await server.stream()
    assert answer.complete and answer.body.endswith(b"data: [DONE]\n\n")
    assert all(line.startswith(b"data: ") for line in answer.body.split(b"\n") if line)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in answer.chunks()) == "Hello wörld"


@pytest.mark.promise("P14")
@pytest.mark.parametrize(("target", "headers"), [(CHAT, {"headrace-ids": "1"}), (CHAT + "?ids=1", {})])
async def test_ids_come_when_they_are_asked_for_and_resume_the_stream(target: str, headers: dict[str, str]) -> None:
    async with serving() as server:
        answer = await server.ask("POST", target, STREAMED, headers)
        frames = answer.frames()
        assert [frame.id for frame in frames] == [f"c1.{number}" for number in range(1, len(frames) + 1)]
        rest = await server.ask("GET", answer.headers["location"], None, SSE | {"last-event-id": frames[1].id})
        assert [frame.data for frame in rest.frames()] == [frame.data for frame in frames[2:]]
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P1", "P12", "P27")
async def test_an_answer_that_is_not_streamed_comes_from_a_stream_and_carries_its_id() -> None:
    async with serving() as server:
        answer = await server.ask("POST", CHAT, ASKED)
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert body["id"] == f"chatcmpl-{answer.stream_id}" and body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"] == "Hello wörld"
        assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        events = await server.ask("GET", f"/v1/streams/{answer.stream_id}/events?format=text")
        assert events.body.decode() == "Hello wörld"


@pytest.mark.promise("P12", "P8")
async def test_leaving_before_an_unstreamed_answer_stops_the_model() -> None:
    never = anyio.Event()
    async with serving([[OPENING], text("Hel"), never]) as server:
        exchange = server.begin("POST", CHAT, ASKED)
        listed = await server.ask("GET", "/v1/streams")
        while not listed.json()["data"]:
            listed = await server.ask("GET", "/v1/streams")
        (row,) = listed.json()["data"]
        await exchange.leave()
        state = await server.ask("GET", f"/v1/streams/{row['id']}")
        while state.json()["state"] == "running":
            state = await server.ask("GET", f"/v1/streams/{row['id']}")
        assert state.json()["state"] == "cancelled" and state.json()["cancelled_by"] == "disconnect"
        assert server.provider.closed == 1


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        (STREAMED, {}, 30),
        (ASKED, {"idempotency-key": "k"}, 30),
        (STREAMED, {"headrace-on-disconnect": "grace=7"}, 7),
        (STREAMED, {"headrace-on-disconnect": "cancel"}, 0),
    ],
)
async def test_a_reader_that_left_has_its_grace(body: object, headers: dict[str, str], seconds: int) -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        exchange = server.begin("POST", CHAT, body, headers)
        while not (rows := (await server.ask("GET", "/v1/streams")).json()["data"]):
            pass
        stream = f"/v1/streams/{rows[0]['id']}"
        while (await server.ask("GET", stream)).json()["text"] != "Hel":
            pass
        await exchange.leave()
        if seconds:
            server.clock.advance(seconds - 1)
            assert (await server.ask("GET", stream)).json()["state"] == "running"
            server.clock.advance(1)
        while (state := (await server.ask("GET", stream)).json())["state"] == "running":
            pass
        assert state["cancelled_by"] == "disconnect"


@pytest.mark.promise("P8")
async def test_a_reader_that_polls_keeps_its_stream() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED, {"headrace-on-disconnect": "grace=7"})).has(b"Hel")
        await posted.leave()
        for _ in range(5):
            server.clock.advance(6)
            assert (await server.ask("GET", posted.headers["location"])).status == 202
        server.clock.advance(7)
        while (answer := await server.ask("GET", posted.headers["location"])).status == 202:
            pass
        assert answer.status == 499


@pytest.mark.promise("P8")
async def test_polling_does_not_take_the_place_of_a_reader_that_is_there() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED, {"headrace-on-disconnect": "cancel"})).has(b"Hel")
        for _ in range(3):
            assert (await server.ask("GET", posted.headers["location"])).status == 202
        assert server.provider.closed == 0
        await posted.leave()
        while (await server.ask("GET", posted.headers["location"])).status == 202:
            pass


@pytest.mark.promise("P8")
async def test_continue_lets_a_stream_end_without_readers() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, text("lo"), ENDING]) as server:
        answer = await server.open("POST", CHAT, STREAMED, {"headrace-on-disconnect": "continue"})
        await answer.leave()
        server.clock.advance(1000)
        gate.set()
        again = await server.ask("GET", answer.headers["location"], None, SSE)
        assert again.complete and b'"lo"' in again.body


@pytest.mark.promise("P13", "P19")
@pytest.mark.parametrize("body", [ASKED, STREAMED])
@pytest.mark.parametrize(
    ("error", "status", "code", "retried"),
    [
        (UpstreamUnavailable("Down.", retry_after=2.5), 503, "upstream_unavailable", True),
        (RateLimited("Full.", retry_after=1), 429, "rate_limited", True),
        (RateLimited("No money.", retryable=False), 429, "rate_limited", False),
        (
            UpstreamRejected("Too long.", status=422, code="context_length_exceeded"),
            422,
            "context_length_exceeded",
            True,
        ),
        (BadRequest("No."), 400, "invalid_request", True),
        (ZeroDivisionError("secret detail"), 500, "internal_error", False),
    ],
)
async def test_a_failure_before_the_first_frame_is_an_http_error(
    body: object, error: Exception, status: int, code: str, retried: bool
) -> None:
    async with serving([error]) as server:
        answer = await server.ask("POST", CHAT, body)
    assert answer.status == status and answer.complete
    assert answer.headers["content-type"] == "application/json"
    fields = answer.error_fields()
    assert fields["code"] == code and {"message", "type", "param", "retryable"} < fields.keys()
    assert ("x-should-retry" not in answer.headers) is retried
    assert b"secret detail" not in answer.body
    if isinstance(error, UpstreamUnavailable):
        assert answer.headers["retry-after"] == "3"
    assert len(answer.stream_id) == 32


@pytest.mark.promise("P13")
async def test_nothing_is_sent_before_the_hold_is_over_and_then_failures_are_in_the_stream() -> None:
    gate = anyio.Event()
    async with serving([gate, UpstreamUnavailable("Down.")]) as server:
        exchange = server.begin("POST", CHAT, STREAMED)
        while not server.provider.asked:
            await server.ask("GET", "/health")
        server.clock.advance(9.9)
        await server.ask("GET", "/health")
        assert exchange.status == 0
        server.clock.advance(0.2)
        await exchange.begun()
        assert exchange.status == 200
        gate.set()
        await exchange.end()
        assert exchange.chunks()[-1]["error"]["code"] == "upstream_unavailable"
        assert exchange.aborted and b"[DONE]" not in exchange.body


@pytest.mark.promise("P5")
async def test_a_failure_in_the_middle_is_an_error_frame_and_an_abort() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]) as server:
        answer = await server.stream()
        assert answer.status == 200 and answer.aborted
        assert answer.chunks()[-1]["error"]["code"] == "upstream_incomplete" and b"[DONE]" not in answer.body
        again = await server.ask("GET", answer.headers["location"], None, SSE)
        assert again.aborted and again.chunks() == answer.chunks()


@pytest.mark.promise("P9", "P12")
async def test_the_finished_stream_read_as_json_is_the_posts_answer() -> None:
    async with serving() as server:
        posted = await server.ask("POST", CHAT, ASKED)
        for public_id in (posted.stream_id, f"chatcmpl-{posted.stream_id}"):
            again = await server.ask("GET", f"{CHAT}/{public_id}")
            assert again.status == 200 and again.json() == posted.json()
            assert again.headers["headrace-stream-id"] == posted.stream_id


@pytest.mark.promise("P9")
async def test_a_running_stream_read_as_json_is_202_and_says_when_to_come_back() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, ENDING]) as server:
        posted = await server.open("POST", CHAT, STREAMED)
        answer = await server.ask("GET", posted.headers["location"])
        assert answer.status == 202 and answer.headers["retry-after"] == "1"
        assert answer.json() == {"id": f"chatcmpl-{posted.stream_id}", "state": "running"}
        gate.set()
        await posted.end()
        assert (await server.ask("GET", posted.headers["location"])).status == 200


@pytest.mark.promise("P10", "P19")
async def test_a_failed_stream_read_as_json_has_its_status_and_the_partial_text_and_asks_for_no_retry() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]) as server:
        posted = await server.stream()
        answer = await server.ask("GET", posted.headers["location"])
    assert answer.status == 502 and answer.headers["x-should-retry"] == "false"
    assert answer.error_fields()["code"] == "upstream_incomplete" and answer.error_fields()["partial"] == "Hel"


@pytest.mark.promise("P7", "P19")
async def test_a_cancelled_stream_read_as_json_is_499_with_the_partial_text() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        posted = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        assert (await server.ask("POST", f"/v1/streams/{posted.stream_id}/cancel")).status == 200
        await posted.end()
        assert posted.aborted and posted.chunks()[-1]["error"]["code"] == "cancelled"
        answer = await server.ask("GET", posted.headers["location"])
    assert answer.status == 499 and answer.error_fields()["partial"] == "Hel"


@pytest.mark.promise("P2", "P9")
async def test_readers_may_come_before_the_first_token_in_the_middle_and_after_the_end() -> None:
    first, second = anyio.Event(), anyio.Event()
    async with serving([first, [OPENING], text("Hello"), second, text(" wörld"), ENDING]) as server:
        made = await server.ask("POST", "/v1/streams", ASKED)
        path = f"{CHAT}/chatcmpl-{made.json()['id']}"
        early = await server.open("GET", path, None, SSE)
        first.set()
        await early.has(b"Hello")
        middle = await (await server.open("GET", path, None, SSE)).has(b"Hello")
        await middle.leave()
        second.set()
        await early.end()
        late = await server.ask("GET", path, None, SSE)
    assert early.complete and late.complete and early.body == late.body
    assert late.body.startswith(middle.body)


@pytest.mark.promise("P9")
async def test_a_reader_that_has_everything_gets_204() -> None:
    async with serving() as server:
        posted = await server.ask("POST", CHAT + "?ids=1", STREAMED)
        last = posted.frames()[-1].id
        for headers, query in (({"last-event-id": last}, ""), ({}, f"?last_event_id={last}"), ({}, "?skip=5")):
            answer = await server.ask("GET", posted.headers["location"] + query, None, SSE | headers)
            assert (answer.status, answer.body) == (204, b"")
    assert len(posted.frames()) == 5


@pytest.mark.promise("P14", "P16")
async def test_a_resumable_read_has_ids_and_the_reconnection_time_before_the_first_frame_only() -> None:
    async with serving() as server:
        posted = await server.stream()
        answer = await server.ask("GET", posted.headers["location"], None, SSE)
    assert answer.headers == STREAM_HEADERS | {"headrace-stream-id": posted.stream_id}
    assert answer.body.startswith(b"retry: 2000\nid: c1.1\ndata: {") and answer.body.count(b"retry:") == 1
    assert [frame.data for frame in answer.frames()] == [frame.data for frame in posted.frames()]


@pytest.mark.promise("P27")
async def test_usage_is_shown_to_those_who_asked_and_a_later_read_has_the_posts_view() -> None:
    async with serving() as server:
        posted = await server.stream({**STREAMED, "stream_options": {"include_usage": True}})
        plain = await server.stream()
        again = await server.ask("GET", posted.headers["location"], None, SSE)
        without = await server.ask("GET", posted.headers["location"] + "?include_usage=false", None, SSE)
    assert posted.chunks()[-1]["usage"]["total_tokens"] == 5 and again.chunks() == posted.chunks()
    assert not any(chunk.get("usage") for chunk in plain.chunks())
    assert not any(chunk.get("usage") for chunk in without.chunks())


@pytest.mark.promise("P14")
async def test_heartbeats_are_the_two_bytes_that_every_client_survives() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, ENDING], keepalive_seconds=4.0) as server:
        answer = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        while not answer.body.endswith(b"\n\n:\n"):
            server.clock.advance(1)
            await server.ask("GET", "/health")
        gate.set()
        await answer.end()
    assert answer.complete and json.loads(answer.frames()[-2].data)["choices"][0]["finish_reason"] == "stop"


async def test_a_path_with_a_slash_too_many_is_no_redirect() -> None:
    async with serving() as server:
        answer = await server.ask("POST", CHAT + "/", STREAMED, {"host": "localhost"})
        assert answer.status == 404 and "location" not in answer.headers
        assert server.provider.asked == []


async def test_an_unknown_stream_is_404_in_openais_form() -> None:
    async with serving(HELLO) as server:
        for headers in ({}, SSE):
            answer = await server.ask("GET", f"{CHAT}/chatcmpl-{UNKNOWN}", None, headers)
            assert answer.status == 404 and answer.error_fields()["type"] == "invalid_request_error"
            assert answer.error_fields()["message"] == f"There is no stream {UNKNOWN}."
