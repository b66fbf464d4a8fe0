"""Every answer has the id of its request: the caller's own where it can be echoed, otherwise one of ours."""

import json
import logging
import re
from typing import Any

import anyio
import pytest

from headrace.stores.memory import MemoryStore
from headrace.telemetry.stream_log import LOGGER
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    CHAT,
    OPENING,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    scope,
    serving,
    text,
)

pytestmark = pytest.mark.anyio

ID = "x-request-id"
OURS = re.compile(r"[0-9a-f]{32}")
PAGE = {"origin": "https://app.example.com"}
PREFLIGHT = {**PAGE, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
KEYS: dict[str, Any] = {"api_keys": TWO_KEYS, "key": ALICE}
CORS: dict[str, Any] = {"cors_origins": ("https://app.example.com",)}

ANSWERS: dict[str, tuple[int, str, str, Any, dict[str, str], dict[str, Any]]] = {
    "a stream": (200, "POST", CHAT, STREAMED, {}, {}),
    "one body": (200, "POST", CHAT, ASKED, {}, {}),
    "a stream of /stream": (200, "GET", "/stream?prompt=Hi", None, {}, {}),
    "an id": (201, "POST", STREAMS, ASKED, {}, {}),
    "a list": (200, "GET", STREAMS, None, {}, {}),
    "a wrong body": (400, "POST", CHAT, b"{", {}, {}),
    "no key": (401, "POST", CHAT, ASKED, {}, {"api_keys": TWO_KEYS}),
    "a foreign page": (403, "POST", CHAT, ASKED, {"origin": "https://evil.example"}, {}),
    "an unknown stream": (404, "GET", f"{STREAMS}/{UNKNOWN}", None, {}, {}),
    "no route": (404, "GET", "/nowhere", None, {}, {}),
    "no method": (405, "PUT", CHAT, None, {}, {}),
    "health": (200, "GET", "/health", None, {}, {}),
    "health with keys": (200, "HEAD", "/health/ready", None, {}, {"api_keys": TWO_KEYS}),
    "metrics": (200, "GET", "/metrics", None, {}, KEYS),
    "the document": (200, "GET", "/openapi.json", None, {}, {}),
    "a preflight": (200, "OPTIONS", CHAT, None, PREFLIGHT, CORS),
    "a refused preflight": (400, "OPTIONS", CHAT, None, {**PREFLIGHT, "origin": "https://evil.example"}, CORS),
    "another origin": (200, "POST", CHAT, STREAMED, PAGE, CORS),
}


@pytest.mark.promise("P35")
@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_answer_has_the_id_of_its_request(kind: str) -> None:
    status, method, target, body, headers, settings = ANSWERS[kind]
    async with serving(**settings) as server:
        own = await server.ask(method, target, body, {ID: "Order-7:a.b_c", **headers})
        ours = [await server.ask(method, target, body, headers) for _ in range(2)]
    assert [each.status for each in (own, *ours)] == [status] * 3
    assert own.request_id == "Order-7:a.b_c"
    assert all(OURS.fullmatch(each.request_id) for each in ours)
    assert ours[0].request_id != ours[1].request_id


@pytest.mark.promise("P35")
async def test_a_defect_has_the_id_too(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        async def status(self, stream_id: str) -> Any:
            raise ZeroDivisionError

    async with serving(store=Broken(now=lambda: 0.0)) as server:
        answer = await server.ask("GET", f"{STREAMS}/{UNKNOWN}", None, {ID: "order-7"})
    assert (answer.status, answer.request_id) == (500, "order-7")
    assert "request order-7" in caplog.text


CANNOT_BE_ECHOED = ("", " ", "a b", "a/b", "x" * 129, "é", "a\nSet-Cookie: b", "a\n", "a\0", b"\xff", "<script>")


@pytest.mark.promise("P35")
@pytest.mark.parametrize("target", [CHAT, STREAMS, "/nowhere", "/health"])
async def test_an_id_that_cannot_be_echoed_is_400_in_the_shape_of_the_path(target: str) -> None:
    async with serving() as server:
        for sent in CANNOT_BE_ECHOED:
            headers: dict[str, str | bytes] = {ID: sent}
            answer = await server.ask("POST", target, STREAMED, headers)
            assert answer.status == 400 and answer.complete
            assert OURS.fullmatch(answer.request_id)
            error = answer.error_fields()
            assert (error["code"], error["param"]) == ("invalid_request", "X-Request-Id")
            assert ("type" in error) == (target == CHAT)
        assert server.provider.asked == []


@pytest.mark.promise("P35")
async def test_the_longest_id_is_taken() -> None:
    async with serving() as server:
        assert (await server.ask("GET", "/health", None, {ID: "x" * 128})).request_id == "x" * 128


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("POST", CHAT, STREAMED), ("POST", STREAMS, ASKED), ("GET", "/stream?prompt=Hi", None)],
)
@pytest.mark.parametrize("sent", [{ID: "order-7"}, {}])
async def test_the_line_of_a_stream_names_the_request_that_made_it(
    method: str, target: str, body: Any, sent: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as server:
        made = await server.ask(method, target, body, sent)
        again = await server.ask("GET", f"{STREAMS}/{made.stream_id}/events", None, {ID: "another"})
    assert again.request_id == "another"
    (line,) = lines(caplog)
    assert (line["id"], line["request_id"]) == (made.stream_id, made.request_id)
    assert made.request_id == sent.get(ID, made.request_id)


async def test_a_body_passes_as_it_is_written() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, text("lo")]) as server:
        answer = await (await server.open("POST", CHAT, STREAMED, {ID: "order-7"})).has(b"Hel")
        assert answer.request_id == "order-7" and not answer.over
        gate.set()
        await answer.end()
    assert answer.headers["x-accel-buffering"] == "no"


async def test_what_is_no_request_passes_untouched() -> None:
    async with serving() as server:
        exchange = Exchange(server.app, {**scope("GET", "/", {}), "type": "websocket"}, [])
        await exchange.run()
    assert exchange.status == 0
