"""`/v1/messages`: Anthropic's shape, posted, streamed or whole, read again and counted."""

from typing import Any

import anyio
import pytest

from headrace.errors import UpstreamUnavailable
from headrace.messages import Request
from tests.endpoints.serving import (
    ALICE,
    GUARD,
    HELLO,
    OPENING,
    SSE,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    ScriptedProvider,
    serving,
    text,
)
from tests.engine.rig import settle

pytestmark = pytest.mark.anyio

PATH = "/v1/messages"
COUNT = f"{PATH}/count_tokens"
ASKED: dict[str, Any] = {"model": "demo", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
STREAM: dict[str, Any] = {**ASKED, "stream": True}
PROMPT = {name: ASKED[name] for name in ("model", "messages")}


def in_form(answer: Exchange, kind: str) -> dict[str, Any]:
    """The error's fields, in an answer that is one of Anthropic's."""
    body = answer.json()
    assert body["type"] == "error" and body["error"]["type"] == kind, body
    assert body["error"]["message"] and isinstance(body["error"]["retryable"], bool)
    return body["error"]


@pytest.mark.promise("P1", "P12")
async def test_an_answer_is_one_message_with_the_streams_id() -> None:
    async with serving() as server:
        answer = await server.ask("POST", PATH, ASKED)
        message = answer.json()
        assert answer.status == 200 and message["id"] == f"msg_{answer.stream_id}"
        assert answer.headers["location"] == f"{PATH}/msg_{answer.stream_id}"
        assert message["content"][0]["text"] == "Hello wörld" and message["stop_reason"] == "end_turn"
        again = await server.ask("GET", f"{PATH}/{answer.stream_id}")
        assert again.status == 200 and again.json() == message


@pytest.mark.promise("P1", "P5", "P14")
async def test_a_stream_has_named_frames_without_ids_and_ends_with_its_stop() -> None:
    async with serving() as server:
        answer = await server.ask("POST", PATH, STREAM)
        assert answer.status == 200 and answer.complete
        assert [frame.event for frame in answer.frames()] == [frame["type"] for frame in answer.chunks()]
        assert not any(frame.id for frame in answer.frames())
        assert answer.chunks()[0]["message"]["id"] == f"msg_{answer.stream_id}"
        assert answer.chunks()[-1]["type"] == "message_stop"


@pytest.mark.promise("P14")
async def test_silence_is_filled_with_pings() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()], keepalive_seconds=10) as server:
        answer = await server.open("POST", PATH, STREAM)
        await answer.has(b"Hel")
        for _ in range(30):
            server.clock.advance(1)
            await settle()
        assert b'\n\nevent: ping\ndata: {"type": "ping"}\n\n' in answer.body
        await answer.leave()


@pytest.mark.promise("P4", "P9")
async def test_a_stream_is_read_again_from_every_frame_on() -> None:
    async with serving() as server:
        posted = await server.ask("POST", PATH, STREAM)
        url = posted.headers["location"]
        whole = await server.ask("GET", url, None, SSE)
        assert whole.chunks() == posted.chunks()
        for frame in whole.frames()[:-1]:
            rest = await server.ask("GET", url, None, SSE | {"last-event-id": frame.id})
            have = int(frame.id.rpartition(".")[2])
            assert rest.chunks() == posted.chunks()[have:]
        assert (await server.ask("GET", url, None, SSE | {"last-event-id": whole.frames()[-1].id})).status == 204


async def test_a_message_that_still_runs_is_asked_for_again() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], gate, *HELLO[1:]]) as server:
        posted = await server.open("POST", PATH, STREAM)
        running = await server.ask("GET", f"{PATH}/{posted.stream_id}")
        assert (running.status, running.headers["retry-after"]) == (202, "1")
        assert running.json() == {"id": f"msg_{posted.stream_id}", "state": "running"}
        gate.set()
        await posted.end()
        assert (await server.ask("GET", f"{PATH}/{posted.stream_id}")).status == 200


@pytest.mark.promise("P5", "P19")
async def test_a_failure_is_anthropics_error_in_every_place() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamUnavailable("Down.")]) as server:
        posted = await server.ask("POST", PATH, ASKED)
        assert posted.status == 503
        assert in_form(posted, "overloaded_error")["partial"] == "Hel"
        streamed = await server.ask("POST", PATH, STREAM)
        assert streamed.status == 200 and streamed.aborted
        assert streamed.frames()[-1].event == "error"
        assert streamed.chunks()[-1]["error"]["type"] == "overloaded_error"


@pytest.mark.promise("P5", "P13", "P19")
async def test_a_failure_before_the_first_frame_is_an_http_error() -> None:
    async with serving([UpstreamUnavailable("Down.")]) as server:
        in_form(await server.ask("POST", PATH, STREAM), "overloaded_error")


@pytest.mark.promise("P8")
async def test_the_last_reader_that_leaves_a_stream_has_half_a_minute_to_come_back() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        answer = await server.open("POST", PATH, STREAM)
        await answer.leave()
        for seconds, state in ((29, "running"), (1, "cancelled")):
            server.clock.advance(seconds)
            await settle()
            assert (await server.ask("GET", f"{STREAMS}/{answer.stream_id}")).json()["state"] == state


@pytest.mark.promise("P10")
async def test_an_idempotency_key_joins_what_the_first_request_made() -> None:
    async with serving() as server:
        first, second = [await server.ask("POST", PATH, ASKED, {"idempotency-key": "k"}) for _ in range(2)]
        assert first.json() == second.json() and second.headers["idempotent-replayed"] == "true"
        in_form(await server.ask("POST", PATH, STREAM, {"idempotency-key": "k"}), "invalid_request_error")


@pytest.mark.promise("P34", "P35")
@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ({}, {"anthropic-version": "2023-06-01"}),
        ({"anthropic-version": "2024-10-22"}, {"anthropic-version": "2024-10-22"}),
        (
            {"anthropic-beta": "one-2024-01-01, two,,three", "x-api-key": "k", "anthropic-other": "x", "cookie": "c"},
            {"anthropic-version": "2023-06-01", "anthropic-beta": "one-2024-01-01,two,three"},
        ),
    ],
)
async def test_two_headers_go_on_to_the_model_server_and_no_other(
    given: dict[str, str], passed_on: dict[str, str]
) -> None:
    async with serving() as server:
        assert (await server.ask("POST", PATH, ASKED, given)).status == 200
        assert dict(server.provider.asked[0].headers) == passed_on


@pytest.mark.promise("P25", "P35")
@pytest.mark.parametrize(
    "headers",
    [
        {"anthropic-version": "latest"},
        {"anthropic-version": "2023-06-01\t1"},
        {"anthropic-beta": "one two"},
        {"anthropic-beta": "x" * 129},
        {"anthropic-beta": "ok,é"},
    ],
)
@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_a_header_that_is_none_of_anthropics_is_refused(headers: dict[str, str], path: str) -> None:
    async with serving() as server:
        answer = await server.ask("POST", path, ASKED, headers)
        assert answer.status == 400 and in_form(answer, "invalid_request_error")["param"] == next(iter(headers))
        assert not server.provider.asked


@pytest.mark.promise("P19", "P25")
@pytest.mark.parametrize(
    ("method", "target", "body", "status", "kind"),
    [
        ("POST", PATH, {}, 400, "invalid_request_error"),
        ("POST", PATH, PROMPT, 400, "invalid_request_error"),
        ("POST", PATH, b"{", 400, "invalid_request_error"),
        ("POST", COUNT, {"model": "demo"}, 400, "invalid_request_error"),
        ("POST", PATH, {**ASKED, "model": "other"}, 404, "not_found_error"),
        ("POST", COUNT, {**ASKED, "model": "other"}, 404, "not_found_error"),
        ("GET", f"{PATH}/{UNKNOWN}", None, 404, "not_found_error"),
        ("GET", f"{PATH}/batches", None, 404, "not_found_error"),
        ("POST", f"{PATH}/batches/results", {}, 404, "not_found_error"),
        ("GET", PATH, None, 405, "invalid_request_error"),
        ("DELETE", COUNT, None, 405, "invalid_request_error"),
        ("POST", PATH, b"x" * 3000, 413, "request_too_large"),
        ("POST", COUNT, b"x" * 3000, 413, "request_too_large"),
    ],
)
async def test_every_refusal_is_in_anthropics_form(method: str, target: str, body: Any, status: int, kind: str) -> None:
    async with serving(max_request_bytes=2000) as server:
        answer = await server.ask(method, target, body)
        assert answer.status == status
        in_form(answer, kind)
        assert not server.provider.asked


@pytest.mark.promise("P19", "P33", "P35")
async def test_who_is_not_let_in_is_told_so_in_anthropics_form() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        assert (await server.ask("POST", PATH, ASKED, {"x-api-key": ALICE})).status == 200
        in_form(await server.ask("POST", PATH, ASKED, {"x-api-key": "wrong"}), "authentication_error")
        in_form(await server.ask("POST", PATH, ASKED, {"x-request-id": "a b"}, key=ALICE), "invalid_request_error")


@pytest.mark.promise("P35")
@pytest.mark.parametrize(("path", "both"), [(PATH, True), (COUNT, True), ("/v1/responses", False), ("/health", False)])
async def test_the_requests_id_is_also_where_anthropics_clients_look_for_it(path: str, both: bool) -> None:
    async with serving() as server:
        answer = await server.ask("POST", path, ASKED, {"x-request-id": "mine"})
        assert dict(answer.raw_headers).get("request-id") == ("mine" if both else None)
        assert answer.request_id == "mine"


@pytest.mark.promise("P27")
@pytest.mark.parametrize("asked", [PROMPT, ASKED, {**PROMPT, "system": "x" * 2_000_000}])
async def test_a_prompt_is_counted_by_estimate_where_nobody_can_count_it(asked: dict[str, Any]) -> None:
    async with serving() as server:
        answer = await server.ask("POST", COUNT, asked)
        assert answer.status == 200 and set(answer.json()) == {"input_tokens", "source"}
        assert answer.json()["source"] == "estimated"
        assert answer.json()["input_tokens"] > ("system" in asked) * 100_000
        assert not server.provider.asked


class CountingProvider(ScriptedProvider):
    """One whose server can count."""

    def __init__(self, count: int | Exception | None) -> None:
        super().__init__()
        self.count = count

    async def count_tokens(self, request: Request, model: str) -> int:
        self.asked.append(request)
        if self.count is None:
            await anyio.sleep_forever()
        if isinstance(self.count, Exception):
            raise self.count
        return self.count or 0


@pytest.mark.promise("P27", "P34")
async def test_a_server_that_can_count_is_asked() -> None:
    provider = CountingProvider(2095)
    async with serving(providers=lambda *_: provider) as server:
        answer = await server.ask("POST", COUNT, PROMPT, {"anthropic-beta": "b"})
        assert (answer.status, answer.json()) == (200, {"input_tokens": 2095})
        assert dict(provider.asked[0].headers)["anthropic-beta"] == "b"


@pytest.mark.promise("P19", "P20")
@pytest.mark.parametrize(("count", "status"), [(UpstreamUnavailable("Down."), 503), (None, 504)])
async def test_a_server_that_cannot_say_is_an_error_in_anthropics_form(count: Exception | None, status: int) -> None:
    provider = CountingProvider(count)
    async with serving(providers=lambda *_: provider) as server:
        answer = server.begin("POST", COUNT, PROMPT)
        with anyio.fail_after(GUARD):
            while not provider.asked:
                await settle()
        server.clock.advance(86_400)
        assert (await answer.end()).status == status
        in_form(answer, "overloaded_error" if status == 503 else "timeout_error")
