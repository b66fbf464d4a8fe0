"""`/v1/responses`: an object that is there from the beginning on, in one state after the other."""

import json
from typing import Any

import anyio
import pytest

from headrace.errors import UpstreamUnavailable
from tests.endpoints.serving import (
    ALICE,
    BOB,
    CHAT,
    HELLO,
    OPENING,
    SSE,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    Server,
    Step,
    serving,
    text,
)
from tests.engine.rig import settle

pytestmark = pytest.mark.anyio

PATH = "/v1/responses"
ASKED: dict[str, Any] = {"model": "demo", "input": "Hi"}
STREAM: dict[str, Any] = {**ASKED, "stream": True}
BACKGROUND: dict[str, Any] = {**ASKED, "background": True}


def unending() -> list[Step]:
    return [[OPENING], text("Hel"), anyio.Event()]


def statuses(exchange: Exchange) -> list[int]:
    return [frame["sequence_number"] for frame in exchange.chunks()]


def said(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


async def state_of(server: Server, made: Exchange, **options: Any) -> Any:
    answer = await server.ask("GET", f"{PATH}/{made.stream_id}", **options)
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.mark.promise("P1", "P12")
async def test_an_answer_is_one_object_with_the_streams_id() -> None:
    async with serving() as server:
        answer = await server.ask("POST", PATH, ASKED)
        assert answer.status == 200 and answer.complete
        response = answer.json()
        assert response["id"] == f"resp_{answer.stream_id}"
        assert answer.headers["location"] == f"{PATH}/resp_{answer.stream_id}"
        assert (response["status"], said(response)) == ("completed", "Hello wörld")
        assert await state_of(server, answer) == response


@pytest.mark.promise("P1", "P14")
async def test_a_stream_has_named_numbered_frames_without_ids_and_ends_with_the_object() -> None:
    async with serving() as server:
        answer = await server.ask("POST", PATH, STREAM)
        assert answer.status == 200 and answer.complete
        assert statuses(answer) == list(range(len(answer.frames())))
        assert [frame.event for frame in answer.frames()] == [frame["type"] for frame in answer.chunks()]
        assert not any(frame.id for frame in answer.frames())
        last = answer.chunks()[-1]
        assert last["type"] == "response.completed" and said(last["response"]) == "Hello wörld"


@pytest.mark.promise("P13")
async def test_a_foreground_stream_sends_nothing_before_the_model_answers() -> None:
    gate = anyio.Event()
    async with serving([gate, *HELLO]) as server:
        answer = server.begin("POST", PATH, STREAM)
        await settle()
        assert answer.status == 0
        gate.set()
        assert (await answer.end()).status == 200


@pytest.mark.promise("P13")
async def test_a_background_stream_sends_its_headers_and_first_frames_at_once() -> None:
    gate = anyio.Event()
    async with serving([gate, *HELLO]) as server:
        answer = await server.open("POST", PATH, {**BACKGROUND, "stream": True})
        assert answer.status == 200 and not answer.complete
        assert (await state_of(server, answer))["status"] == "queued"
        gate.set()
        assert (await answer.end()).chunks()[-1]["type"] == "response.completed"


@pytest.mark.promise("P8", "P13")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_background_answer_needs_nobody_who_waits_for_it(stream: bool) -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, *HELLO[1:]]) as server:
        answer = await server.open("POST", PATH, {**BACKGROUND, "stream": stream})
        if stream:
            await answer.leave()
        else:
            await answer.end()
            assert answer.json()["status"] in ("queued", "in_progress") and answer.json()["background"] is True
        server.clock.advance(3600)
        await settle()
        assert (await state_of(server, answer))["status"] == "in_progress"
        gate.set()
        await settle()
        ended = await state_of(server, answer)
        assert (ended["status"], said(ended)) == ("completed", "HelHello wörld")


@pytest.mark.promise("P8")
async def test_the_header_beats_the_default_of_the_background() -> None:
    async with serving(unending()) as server:
        answer = await server.ask("POST", PATH, BACKGROUND, {"headrace-on-disconnect": "grace=5"})
        server.clock.advance(4)
        await settle()
        # Whoever looks is a reader between two looks.
        assert (await state_of(server, answer))["status"] == "in_progress"
        server.clock.advance(4)
        await settle()
        assert (await state_of(server, answer))["status"] == "in_progress"
        server.clock.advance(5)
        await settle()
        assert (await state_of(server, answer))["status"] == "cancelled"


@pytest.mark.promise("P4", "P9")
async def test_reading_goes_on_after_every_sequence_number() -> None:
    async with serving() as server:
        whole = await server.ask("POST", PATH, STREAM)
        frames = whole.chunks()
        url = f"{PATH}/resp_{whole.stream_id}?stream=true"
        assert (await server.ask("GET", url)).chunks() == frames
        for after in range(len(frames) - 1):
            rest = await server.ask("GET", f"{url}&starting_after={after}")
            assert rest.status == 200 and rest.complete and rest.chunks() == frames[after + 1 :]
            assert rest.frames()[0].id == f"r1.{after + 2}"
            by_cursor = await server.ask("GET", url, None, {"last-event-id": f"r1.{after + 1}"})
            assert by_cursor.body == rest.body
        for everything in (f"{url}&starting_after={len(frames) - 1}", f"{url}&last_event_id=r1.{len(frames)}"):
            assert (await server.ask("GET", everything)).status == 204


@pytest.mark.promise("P4", "P9")
async def test_a_reader_that_comes_back_while_it_runs_misses_nothing() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, *HELLO[1:]]) as server:
        first = await server.open("POST", PATH, STREAM)
        await first.has(b"Hel")
        await first.leave()
        have = first.chunks()
        again = await server.open("GET", f"{PATH}/{first.stream_id}?starting_after={len(have) - 1}", None, SSE)
        gate.set()
        rest = (await again.end()).chunks()
        whole = (await server.ask("GET", f"{PATH}/{first.stream_id}?stream=1")).chunks()
        assert have + rest == whole


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("stream=true&starting_after=99", "invalid_cursor", "starting_after"),
        ("stream=true&last_event_id=r1.99", "invalid_cursor", "last_event_id"),
        ("stream=true&last_event_id=c1.1", "invalid_cursor", "last_event_id"),
        ("stream=true&starting_after=-1", "invalid_request", "starting_after"),
        ("stream=true&starting_after=x", "invalid_request", "starting_after"),
        ("stream=perhaps", "invalid_request", "stream"),
    ],
)
async def test_a_place_that_no_reader_can_be_at_is_refused(query: str, code: str, param: str) -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, ASKED)
        answer = await server.ask("GET", f"{PATH}/{made.stream_id}?{query}")
        assert answer.status == 400
        assert (answer.error_fields()["code"], answer.error_fields()["param"]) == (code, param)


@pytest.mark.promise("P7")
async def test_a_cancel_answers_the_object_and_changes_nothing_the_second_time() -> None:
    async with serving(unending()) as server:
        made = await server.open("POST", PATH, STREAM)
        await made.has(b"Hel")
        for _ in range(2):
            answer = await server.ask("POST", f"{PATH}/resp_{made.stream_id}/cancel")
            assert answer.status == 200
            assert (answer.json()["status"], said(answer.json())) == ("cancelled", "Hel")
            assert server.provider.closed == 1
        await made.end()
        assert made.complete and made.chunks()[-1]["type"] == "response.incomplete"
        assert (await state_of(server, made))["status"] == "cancelled"


@pytest.mark.promise("P7")
async def test_what_has_ended_stays_as_it_ended() -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, ASKED)
        answer = await server.ask("POST", f"{PATH}/{made.stream_id}/cancel", {})
        assert (answer.status, answer.json()["status"]) == (200, "completed")


@pytest.mark.promise("P7")
async def test_deleting_stops_it_first() -> None:
    async with serving(unending()) as server:
        made = await server.ask("POST", PATH, BACKGROUND)
        answer = await server.ask("DELETE", f"{PATH}/resp_{made.stream_id}")
        assert answer.status == 200
        assert answer.json() == {"id": f"resp_{made.stream_id}", "object": "response", "deleted": True}
        assert server.provider.closed == len(server.provider.asked)
        for method in ("GET", "DELETE"):
            assert (await server.ask(method, f"{PATH}/{made.stream_id}")).status == 404


@pytest.mark.promise("P5", "P19")
async def test_a_failure_is_an_http_error_to_who_waits_and_a_state_to_who_looks() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamUnavailable("Down.")]) as server:
        answer = await server.ask("POST", PATH, ASKED)
        assert answer.status == 503
        assert answer.error_fields()["code"] == "upstream_unavailable" and answer.error_fields()["partial"] == "Hel"
        response = await state_of(server, answer)
        assert (response["status"], response["error"]["code"], said(response)) == (
            *("failed", "upstream_unavailable"),
            "Hel",
        )
        streamed = await server.ask("POST", PATH, STREAM)
        assert streamed.status == 200 and streamed.complete
        assert "response.failed" in [frame["type"] for frame in streamed.chunks()]
        assert streamed.chunks()[-1]["type"] in ("response.failed", "error")


@pytest.mark.promise("P5", "P13")
async def test_a_failure_before_the_first_frame_is_an_http_error_but_in_the_background() -> None:
    async with serving([UpstreamUnavailable("Down.")]) as server:
        foreground = await server.ask("POST", PATH, STREAM)
        assert foreground.status == 503 and foreground.error_fields()["retryable"] is True
        background = await server.ask("POST", PATH, {**BACKGROUND, "stream": True})
        assert background.status == 200
        assert "response.failed" in [frame["type"] for frame in background.chunks()]


@pytest.mark.promise("P9")
async def test_an_answer_of_another_shape_is_read_in_this_one() -> None:
    async with serving() as server:
        made = await server.ask("POST", CHAT, STREAMED)
        assert said(await state_of(server, made)) == "Hello wörld"
        frames = (await server.ask("GET", f"{PATH}/{made.stream_id}?stream=true")).chunks()
        assert frames[-1]["type"] == "response.completed"


@pytest.mark.promise("P10")
async def test_an_idempotency_key_joins_what_the_first_request_made_and_stops_it() -> None:
    key = {"idempotency-key": "order-7"}
    async with serving(unending()) as server:
        made = await server.ask("POST", PATH, BACKGROUND, key)
        again = await server.ask("POST", PATH, BACKGROUND, key)
        assert again.headers["idempotent-replayed"] == "true" and again.json()["id"] == made.json()["id"]
        assert (await server.ask("POST", PATH, {**BACKGROUND, "input": "Bye"}, key)).status == 422
        assert len(server.provider.asked) <= 1
        stopped = await server.ask("POST", f"{STREAMS}/cancel", {"idempotency_key": "order-7", "route": PATH})
        assert stopped.status == 200 and stopped.json()["id"] == made.stream_id
        assert (await state_of(server, made))["status"] == "cancelled"


@pytest.mark.promise("P8")
async def test_an_answer_that_is_not_stored_is_gone_when_nobody_comes_back() -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, {**ASKED, "store": False})
        assert made.json()["store"] is False

        async def later(seconds: int) -> None:
            for _ in range(seconds):
                server.clock.advance(1)
                await settle()

        await later(29)
        assert (await state_of(server, made))["status"] == "completed"
        await later(29)
        assert (await server.ask("GET", f"{PATH}/{made.stream_id}/input_items")).status == 404
        assert (await state_of(server, made))["status"] == "completed"
        await later(31)
        assert (await server.ask("GET", f"{PATH}/{made.stream_id}")).status == 404


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "Hi"}, 400, "model"),
        ({"model": "demo"}, 400, "input"),
        ({**ASKED, "temperature": 3}, 400, "temperature"),
        ({**ASKED, "background": True, "store": False}, 400, "background"),
        ({**ASKED, "model": "other"}, 404, "model"),
        ([], 400, None),
    ],
)
async def test_a_wrong_request_is_refused_in_openais_form(body: Any, status: int, param: str | None) -> None:
    async with serving() as server:
        answer = await server.ask("POST", PATH, body)
        assert answer.status == status and answer.error_fields()["param"] == param
        assert answer.error_fields()["type"] == "invalid_request_error"
        assert not server.provider.asked


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{PATH}/{UNKNOWN}", 404),
        ("GET", f"{PATH}/nothing", 404),
        ("GET", f"{PATH}/{UNKNOWN}/input_items", 404),
        ("POST", f"{PATH}/{UNKNOWN}/cancel", 404),
        ("DELETE", f"{PATH}/{UNKNOWN}", 404),
        ("PUT", PATH, 405),
        ("GET", f"{PATH}/{UNKNOWN}/other", 404),
    ],
)
async def test_what_is_not_there_is_said_in_openais_form(method: str, path: str, status: int) -> None:
    async with serving() as server:
        answer = await server.ask(method, path)
        assert answer.status == status and answer.error_fields()["type"] == "invalid_request_error"


ITEMS = [
    {"role": "user", "content": "One"},
    {"type": "message", "role": "assistant", "content": "Two"},
    {"type": "function_call_output", "call_id": "c", "output": "3"},
    {"id": "msg_own", "role": "user", "content": [{"type": "input_text", "text": "Four"}]},
]


async def test_the_input_is_listed_a_page_at_a_time_in_either_order() -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, {"model": "demo", "input": ITEMS})
        url = f"{PATH}/resp_{made.stream_id}/input_items"
        everything = (await server.ask("GET", f"{url}?order=asc")).json()
        ids = [item["id"] for item in everything["data"]]
        assert len(set(ids)) == 4 and ids[3] == "msg_own"
        assert (everything["first_id"], everything["last_id"], everything["has_more"]) == (ids[0], ids[3], False)
        assert everything["data"][0] == {
            **{"id": ids[0], "type": "message", "status": "completed", "role": "user"},
            "content": [{"type": "input_text", "text": "One"}],
        }
        assert everything["data"][1]["content"][0]["type"] == "output_text"
        for order, expected in (("asc", ids), ("desc", ids[::-1])):
            found: list[str] = []
            more, query = True, f"?order={order}&limit=3"
            while more:
                page = (await server.ask("GET", url + query)).json()
                found += [item["id"] for item in page["data"]]
                assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], found[-1])
                more, query = page["has_more"], f"?order={order}&limit=3&after={found[-1]}"
            assert found == expected
        assert [item["id"] for item in (await server.ask("GET", url)).json()["data"]] == ids[::-1]


async def test_a_string_is_one_item_of_input_and_nothing_follows_the_last() -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, ASKED)
        url = f"{PATH}/{made.stream_id}/input_items"
        (item,) = (await server.ask("GET", url)).json()["data"]
        assert item["content"] == [{"type": "input_text", "text": "Hi"}]
        nothing = (await server.ask("GET", f"{url}?after={item['id']}")).json()
        assert nothing == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.promise("P25")
@pytest.mark.parametrize(("query", "param"), [("limit=0", "limit"), ("order=up", "order"), ("after=x", "after")])
async def test_a_page_that_cannot_be_is_refused(query: str, param: str) -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, ASKED)
        answer = await server.ask("GET", f"{PATH}/{made.stream_id}/input_items?{query}")
        assert answer.status == 400 and answer.error_fields()["param"] == param


async def test_a_very_long_input_is_listed_as_it_came() -> None:
    items = [{"role": "user", "content": [{"type": "input_text", "text": f"{n}" * 40_000}]} for n in range(60)]
    async with serving() as server:
        made = await server.ask("POST", PATH, {"model": "demo", "input": items})
        assert made.status == 200
        listed = await server.ask("GET", f"{PATH}/{made.stream_id}/input_items?order=asc&limit=100")
        assert [item["content"] for item in listed.json()["data"]] == [item["content"] for item in items]


@pytest.mark.promise("P32")
async def test_anothers_input_is_not_listed() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        made = await server.ask("POST", PATH, ASKED, key=ALICE)
        assert (await server.ask("GET", f"{PATH}/{made.stream_id}/input_items", key=BOB)).status == 404
        assert json.dumps(await state_of(server, made, key=ALICE))
