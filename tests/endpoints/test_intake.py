"""What is wrong with a request is said in the shape that was called, names the field, and never reaches a model."""

import json
from typing import Any, cast
from urllib.parse import quote

import anyio
import pytest

from headrace.app import create_app
from headrace.config import Model
from headrace.engine import reading
from headrace.errors import UpstreamIncomplete, UpstreamUnavailable
from headrace.events import ChoiceEnd, Chunk
from headrace.stores.memory import MemoryStore
from tests.endpoints.serving import (
    ASKED,
    CHAT,
    HELLO,
    LEAVE,
    NO_HEADER,
    OPENING,
    SSE,
    STREAMED,
    STREAMS,
    UNKNOWN,
    Exchange,
    ScriptedProvider,
    configured,
    scope,
    serving,
    text,
)

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P19", "P25")]

CREATE = [CHAT, STREAMS]
DEEP = b"[" * 100_000 + b"]" * 100_000


def body(**fields: Any) -> bytes:
    return json.dumps({**ASKED, **fields}).encode()


def with_raw(name: str, raw: bytes) -> bytes:
    """A good body and one more field, of raw JSON."""
    return body()[:-1] + b', "%s": %s}' % (name.encode(), raw)


def messages(*given: Any) -> bytes:
    return body(messages=list(given))


def check(answer: Exchange, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Status, form and field of a refusal."""
    assert answer.error is None and answer.complete
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    (fields,) = answer.json().values()
    path: str = answer.scope["path"]
    if path.startswith(("/v1/chat", "/v1/models")):
        assert set(fields) == {"message", "type", "param", "code", "retryable"}
    else:
        assert {"code", "message", "retryable"} <= set(fields) <= {"code", "message", "retryable", "param"}
    assert fields["message"] and "Traceback" not in fields["message"] and fields["retryable"] is False
    assert fields.get("param") == param, fields
    assert code is None or fields["code"] == code, fields
    return fields


@pytest.fixture(params=["short", "long"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies are read in one go, or in parts."""
    if request.param == "long":
        monkeypatch.setattr(reading, "LARGEST_STEP", 0)


BAD_BODIES: list[tuple[str, bytes, str | None]] = [
    ("nothing", b"", None),
    ("cut", b'{"model": "demo", ', None),
    ("words", b"hello", None),
    ("two values", body() + body(), None),
    ("a list", b"[]", None),
    ("null", b"null", None),
    ("a string", b'"demo"', None),
    ("single quotes", b"{'model': 'demo'}", None),
    ("a trailing comma", body()[:-1] + b",}", None),
    ("a comment", b"/* */" + body(), None),
    ("a BOM", b"\xef\xbb\xbf" + body(), None),
    ("utf-16", body().decode().encode("utf-16"), None),
    ("utf-8 that is cut", body().replace(b"Hi", b"\xf0\x9f"), None),
    ("utf-8 that is none", body().replace(b"Hi", b"\xff\xfe"), None),
    ("half a surrogate pair", body().replace(b"Hi", b"\\ud800"), None),
    ("a control character", body().replace(b"Hi", b"H\x01i"), None),
    ("a line break in a string", body().replace(b"Hi", b"H\ni"), None),
    ("a wrong escape", body().replace(b"Hi", b"\\q"), None),
    ("NaN", with_raw("metadata", b"NaN"), None),
    ("infinity", with_raw("metadata", b"-Infinity"), None),
    ("a deep list", DEEP, None),
    ("a deep field", with_raw("tools", DEEP), "tools[0]"),
    ("no model", b'{"messages": [{"role": "user", "content": "Hi"}]}', "model"),
    ("no messages", b'{"model": "demo"}', "messages"),
    ("model null", body(model=None), "model"),
    ("model a number", body(model=7), "model"),
    ("model empty", body(model=""), "model"),
    ("model long", body(model="x" * 257), "model"),
    ("messages null", body(messages=None), "messages"),
    ("messages an object", body(messages={}), "messages"),
    ("messages text", body(messages="Hi"), "messages"),
    ("messages empty", body(messages=[]), "messages"),
    ("a message of text", messages("Hi"), "messages[0]"),
    ("a message without role", messages({"content": "Hi"}), "messages[0].role"),
    ("an unknown role", messages({"role": "robot", "content": "Hi"}), "messages[0].role"),
    ("content a number", messages({"role": "user", "content": 7}), "messages[0].content"),
    ("a part of text", messages({"role": "user", "content": ["Hi"]}), "messages[0].content[0]"),
    ("a part without type", messages({"role": "user", "content": [{"text": "Hi"}]}), "messages[0].content[0].type"),
    ("a part without text", messages({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
    ("stream text", body(stream="yes"), "stream"),
    ("stream a number", body(stream=1), "stream"),
    ("metadata a list", body(metadata=[]), "metadata"),
    ("metadata of numbers", body(metadata={"a": 1}), "metadata[...]"),
    ("metadata large", body(metadata={"a" * 10_000: "b" * 7_000}), "metadata"),
    ("tools an object", body(tools={}), "tools"),
    ("a tool of text", body(tools=["x"]), "tools[0]"),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("path", CREATE)
@pytest.mark.parametrize(("sent", "param"), [case[1:] for case in BAD_BODIES], ids=[case[0] for case in BAD_BODIES])
async def test_a_bad_body_is_400_naming_the_field(path: str, sent: bytes, param: str | None) -> None:
    async with serving() as server:
        for headers in ({}, {"idempotency-key": "k"}):
            fields = check(await server.ask("POST", path, sent, headers), 400, param)
            assert fields["code"] in ("invalid_json", "invalid_request")
        assert server.provider.asked == []


CHAT_ONLY: list[tuple[bytes, str | None]] = [
    (body(temperature=3), "temperature"),
    (body(temperature="hot"), "temperature"),
    (body(top_p=-0.1), "top_p"),
    (body(max_tokens=0), "max_tokens"),
    (body(max_tokens=1.5), "max_tokens"),
    (body(max_completion_tokens=True), "max_completion_tokens"),
    (body(n=0), "n"),
    (body(presence_penalty=3), "presence_penalty"),
    (body(stop=7), "stop"),
    (body(seed="x"), "seed"),
    (body(stream_options=[]), "stream_options"),
    (body(stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
    (body(response_format="json"), "response_format"),
    (body(tools=[{"type": "function"}]), "tools[0].function"),
    (messages({"role": "user"}), "messages[0].content"),
    (with_raw("temperature", b"1e999"), "temperature"),
    (with_raw("response_format", b'{"a": %s}' % DEEP), None),
    (with_raw("vendor_field", DEEP), None),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("sent", "param"), CHAT_ONLY, ids=range(len(CHAT_ONLY)))
async def test_a_bad_setting_is_400_in_openais_form(sent: bytes, param: str | None) -> None:
    async with serving() as server:
        check(await server.ask("POST", CHAT, sent), 400, param)
        assert server.provider.asked == []


NATIVE_ONLY: list[tuple[bytes, str]] = [
    (body(settings=[]), "settings"),
    (body(settings={"temperature": -1}), "settings.temperature"),
    (body(settings={"max_tokens": 0}), "settings.max_tokens"),
    (body(settings={"heat": 1}), "settings.heat"),
    (body(temperature=1), "temperature"),
    (messages({"role": "user", "content": "Hi", "tool_call_id": "x"}), "messages[0].tool_call_id"),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("sent", "param"), NATIVE_ONLY)
async def test_a_field_that_the_native_shape_does_not_have_is_400(sent: bytes, param: str) -> None:
    async with serving() as server:
        check(await server.ask("POST", STREAMS, sent), 400, param)
        assert server.provider.asked == []


@pytest.mark.parametrize("path", CREATE)
async def test_an_unknown_model_is_404_and_is_said_so(path: str) -> None:
    async with serving() as server:
        for model in ("gpt-9", "demo\x00", "*", "dem", "../demo", "x" * 256):
            fields = check(await server.ask("POST", path, body(model=model)), 404, "model", "model_not_found")
            assert "/v1/models" in fields["message"]
        assert server.provider.asked == []


@pytest.mark.parametrize("path", CREATE)
async def test_a_model_name_is_not_as_long_as_the_caller_likes_where_any_name_is_served(path: str) -> None:
    async with serving(models=(Model(name="*", upstream_model="*"),)) as server:
        check(await server.ask("POST", path, body(model="x" * 257)), 400, "model")
        assert server.provider.asked == []
        assert (await server.ask("POST", path, body(model="x" * 256))).status in (200, 201)


@pytest.mark.parametrize("path", CREATE)
async def test_a_value_that_only_the_idempotency_digest_reads_is_no_defect(path: str) -> None:
    """A number beyond all limits, and one that Python cannot hold, in a place where a shape reads nothing."""
    sent = {CHAT: with_raw("vendor", b"1e999"), STREAMS: with_raw("metadata", b'{"a": 1e999}')}[path]
    async with serving() as server:
        answer = await server.ask("POST", path, sent, {"idempotency-key": "k"})
        check(answer, 400, answer.json()["error"].get("param"))
        assert server.provider.asked == []


async def test_the_last_of_two_equal_names_counts_as_in_every_json_reader() -> None:
    async with serving() as server:
        check(await server.ask("POST", CHAT, with_raw("model", b'"gpt-9"')), 404, "model")
        assert (await server.ask("POST", CHAT, with_raw("model", b'"demo"'))).status == 200


@pytest.mark.promise("P24")
@pytest.mark.parametrize("path", [*CREATE, STREAMS + "/cancel"])
async def test_a_body_over_the_limit_is_413_with_and_without_its_length(path: str) -> None:
    async with serving(max_request_bytes=1000) as server:
        large = body(user="x" * 2000)
        check(await server.ask("POST", path, large), 413, code="request_too_large")
        pieces = [large[at : at + 100] for at in range(0, len(large), 100)]
        unread = server.begin("POST", path, pieces=pieces)
        check(await unread.end(), 413)
        assert unread.unsent, "the rest of the body is not read"
        check(await server.ask("POST", path, large, {"content-length": "7"}), 413)
        for length in ("9" * 30, "9" * 5000):
            check(await server.ask("POST", path, b"{}", {"content-length": length}), 413)
        assert server.provider.asked == []


@pytest.mark.parametrize("path", CREATE)
async def test_a_body_of_exactly_the_limit_in_pieces_is_taken(path: str) -> None:
    sent = body()
    async with serving(max_request_bytes=len(sent)) as server:
        pieces = [sent[at : at + 1] for at in range(len(sent))]
        assert (await server.ask("POST", path, pieces=pieces)).status in (200, 201)


@pytest.mark.parametrize("length", ["-1", "abc", "²", "", "1e3"])
async def test_a_content_length_that_is_no_number_is_no_defect(length: str) -> None:
    async with serving() as server:
        assert (await server.ask("POST", CHAT, ASKED, {"content-length": length.encode("latin-1")})).status == 200


@pytest.mark.promise("P33")
@pytest.mark.parametrize("path", [*CREATE, STREAMS + "/cancel", f"{STREAMS}/{UNKNOWN}/cancel"])
async def test_a_body_that_is_not_declared_as_json_is_415(path: str) -> None:
    async with serving() as server:
        for media_type in (
            "text/plain",
            "text/plain;application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json, text/plain",
            "",
        ):
            check(await server.ask("POST", path, ASKED, {"content-type": media_type}), 415, "content-type")
        check(await server.ask("POST", path, ASKED, {"content-type": NO_HEADER}), 415, "content-type")
        check(await server.ask("POST", path, ASKED, {"content-encoding": "gzip"}), 415, "content-encoding")
        assert server.provider.asked == []


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", " application/json ;x=y"]
)
async def test_json_is_json_however_it_is_written(media_type: str) -> None:
    async with serving() as server:
        assert (await server.ask("POST", CHAT, ASKED, {"content-type": media_type})).status == 200


BAD_HEADERS: list[tuple[str, bytes, str]] = [
    ("idempotency-key", b"", "Idempotency-Key"),
    ("idempotency-key", b"a b", "Idempotency-Key"),
    ("idempotency-key", b"a\nb", "Idempotency-Key"),
    ("idempotency-key", b"a\r\nset-cookie: x", "Idempotency-Key"),
    ("idempotency-key", b"a\x00", "Idempotency-Key"),
    ("idempotency-key", "é".encode(), "Idempotency-Key"),
    ("idempotency-key", "é".encode("latin-1"), "Idempotency-Key"),
    ("idempotency-key", b"x" * 129, "Idempotency-Key"),
    ("idempotency-key", b"a/b", "Idempotency-Key"),
    ("headrace-on-disconnect", b"", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"stop", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"grace", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"grace=", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"grace=-1", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"grace=nan", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"grace=inf", "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"grace=1e9", "headrace-on-disconnect"),
    ("headrace-on-disconnect", "grace=٣".encode(), "headrace-on-disconnect"),
    ("headrace-on-disconnect", b"cancel\x00", "headrace-on-disconnect"),
]


@pytest.mark.promise("P35")
@pytest.mark.parametrize("path", CREATE)
@pytest.mark.parametrize(("name", "value", "param"), BAD_HEADERS)
async def test_a_bad_header_is_400_naming_it(path: str, name: str, value: bytes, param: str) -> None:
    async with serving() as server:
        check(await server.ask("POST", path, STREAMED, {name: value}), 400, param)
        assert server.provider.asked == []


@pytest.mark.promise("P35")
@pytest.mark.parametrize("key", ["a", "x" * 128, "A-Z_a.z:0-9"])
async def test_a_good_key_is_taken(key: str) -> None:
    async with serving() as server:
        assert (await server.stream(headers={"idempotency-key": key})).status == 200


async def test_other_headers_may_hold_anything() -> None:
    odd = {"user-agent": b"\xff\x01", "accept": b"\xfe, ;;q=,", "x-anything": "é".encode(), "accept-language": b""}
    async with serving() as server:
        assert (await server.stream(headers=odd)).status == 200


CURSORS = ["x", "c1", "c1.", ".1", "c1.-1", "c1.x", "C1.1", "c1.1 ", "c01.1", "c1.٣", "n2.1", "z1.1", "c1x.1", "n1u.1"]
CURSORS += [
    "c1.999999999999",
    "c1.9999999999999999",
    "n1.9999",
    "t1.10000",
    "0",
    "\x00",
    "é",
    "c1.1\n",
    f"{UNKNOWN}:c1.1",
]


@pytest.mark.parametrize("cursor", CURSORS)
async def test_a_bad_cursor_is_400_in_the_header_and_in_the_query(cursor: str) -> None:
    async with serving() as server:
        posted = await server.stream()
        for path in (f"{STREAMS}/{posted.stream_id}/events", f"{CHAT}/{posted.stream_id}"):
            for headers, query in (({"last-event-id": cursor}, ""), ({}, f"?last_event_id={quote(cursor)}")):
                check(
                    await server.ask("GET", path + query, None, SSE | headers), 400, "last_event_id", "invalid_cursor"
                )
        assert len(server.provider.asked) == 1


async def test_a_cursor_of_another_format_is_400() -> None:
    async with serving() as server:
        posted = await server.stream()
        events = f"{STREAMS}/{posted.stream_id}/events"
        for format, cursor in (("native", "c1.1"), ("text", "n1.1"), ("openai.chat", "t1.1"), ("native", "t1.1")):
            answer = await server.ask("GET", f"{events}?format={format}&last_event_id={cursor}")
            assert format in check(answer, 400, "last_event_id", "invalid_cursor")["message"]
        for cursor in ("n1.1", "t1.1"):
            answer = await server.ask("GET", f"{CHAT}/{posted.stream_id}", None, SSE | {"last-event-id": cursor})
            check(answer, 400, "last_event_id", "invalid_cursor")


BAD_QUERIES: list[tuple[str, str]] = [
    ("/v1/streams/{}/events?format=anthropic", "format"),
    ("/v1/streams/{}/events?format=", "format"),
    ("/v1/streams/{}/events?format=Native", "format"),
    ("/v1/streams/{}/events?skip=", "skip"),
    ("/v1/streams/{}/events?skip=-1", "skip"),
    ("/v1/streams/{}/events?skip=1.5", "skip"),
    ("/v1/streams/{}/events?skip=%D9%A3", "skip"),
    ("/v1/streams/{}/events?skip=%C2%B2", "skip"),
    ("/v1/streams/{}/events?skip=9999999999999", "skip"),
    ("/v1/streams/{}/events?format=openai.chat&include_usage=yes", "include_usage"),
    ("/v1/streams?state=done", "state"),
    ("/v1/streams?state=", "state"),
    ("/v1/streams?limit=0", "limit"),
    ("/v1/streams?limit=101", "limit"),
    ("/v1/streams?limit=-1", "limit"),
    ("/v1/streams?limit=", "limit"),
    ("/v1/streams?limit=ten", "limit"),
    ("/v1/streams?limit=%C2%B2", "limit"),
    ("/v1/streams?limit=00100000", "limit"),
    ("/v1/streams?limit=0001", "limit"),
    ("/stream", "prompt"),
    ("/stream?prompt=", "prompt"),
    ("/stream?prompt=" + "x" * 2001, "prompt"),
    ("/stream?prompt=Hi&format=html", "format"),
    ("/stream?prompt=Hi&model=" + "x" * 257, "model"),
    ("/stream?format=html&last_event_id={}:c1.1", "format"),
]


@pytest.mark.parametrize(("target", "param"), BAD_QUERIES)
async def test_a_bad_query_is_400_naming_the_parameter(target: str, param: str) -> None:
    async with serving() as server:
        posted = await server.stream()
        check(await server.ask("GET", target.format(posted.stream_id)), 400, param)
        assert len(server.provider.asked) == 1


async def test_a_cursor_too_far_is_400_also_by_skip() -> None:
    async with serving() as server:
        posted = await server.stream()
        for query in ("skip=999", "format=text&skip=13", "format=openai.chat&skip=6"):
            answer = await server.ask("GET", f"{STREAMS}/{posted.stream_id}/events?{query}")
            check(answer, 400, "last_event_id", "invalid_cursor")


ODD_IDS = ["x", UNKNOWN, "chatcmpl-", f"chatcmpl-{UNKNOWN}", "A" * 32, UNKNOWN + "0", "%00", "%0A", "%F0%9F%98%80"]
ODD_IDS += [f"chatcmpl-chatcmpl-{UNKNOWN}", "x" * 5000, "{id}", "'%20OR%201=1"]


@pytest.mark.parametrize("stream_id", ODD_IDS)
async def test_an_unknown_id_is_404_however_odd_it_is(stream_id: str) -> None:
    async with serving() as server:
        for method, target in (
            ("GET", f"{STREAMS}/{stream_id}"),
            ("GET", f"{STREAMS}/{stream_id}/events"),
            ("POST", f"{STREAMS}/{stream_id}/cancel"),
            ("DELETE", f"{STREAMS}/{stream_id}"),
            ("GET", f"{CHAT}/{stream_id}"),
        ):
            fields = check(await server.ask(method, target), 404, code="not_found")
            assert len(fields["message"]) < 200
        check(await server.ask("GET", f"{STREAMS}?before={stream_id}"), 404, "before", "not_found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("PUT", CHAT, "POST"),
        ("DELETE", f"{CHAT}/{UNKNOWN}", "GET"),
        ("PUT", STREAMS, "GET, POST"),
        ("PATCH", f"{STREAMS}/{UNKNOWN}", "DELETE, GET"),
        ("POST", f"{STREAMS}/{UNKNOWN}/events", "GET"),
        ("GET", f"{STREAMS}/{UNKNOWN}/cancel", "POST"),
        ("POST", "/stream?prompt=Hi", "GET"),
        ("HEAD", "/stream?prompt=Hi", "GET"),
        ("POST", "/v1/models", "GET"),
        ("OPTIONS", CHAT, "POST"),
        ("BREW", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_the_right_ones_are_named(method: str, target: str, allowed: str) -> None:
    async with serving() as server:
        answer = await server.ask(method, target)
        check(answer, 405, code="method_not_allowed")
        assert answer.headers["allow"] == allowed
        assert server.provider.asked == []


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v2/streams", "/v1/chat/completions/", "/v1/chat/x", "//v1/streams", "/docs", "/%00"]
)
async def test_an_unknown_path_is_404(path: str) -> None:
    async with serving() as server:
        for method in ("GET", "POST"):
            check(await server.ask(method, path, body() if method == "POST" else None), 404, code="not_found")
        assert server.provider.asked == []


BAD_CANCELS: list[tuple[bytes, str | None]] = [
    (b"", None),
    (b"[]", None),
    (b"{}", "idempotency_key"),
    (b'{"idempotency_key": 7}', "idempotency_key"),
    (b'{"idempotency_key": ""}', "idempotency_key"),
    (b'{"idempotency_key": "a b"}', "idempotency_key"),
    (b'{"idempotency_key": "a\\n/v1/streams\\nb"}', "idempotency_key"),
    (b'{"idempotency_key": "k", "route": "/v1/other"}', "route"),
    (b'{"idempotency_key": "k", "route": ""}', "route"),
    (b'{"idempotency_key": "k", "owner": "bob"}', "owner"),
    (b'{"idempotency_key": "\xff"}', None),
    (b'{"idempotency_key": ' + DEEP + b"}", "idempotency_key"),
    (DEEP, None),
]


@pytest.mark.parametrize(("sent", "param"), BAD_CANCELS, ids=range(len(BAD_CANCELS)))
async def test_a_bad_cancel_by_key_is_400(sent: bytes, param: str | None) -> None:
    async with serving() as server:
        check(await server.ask("POST", STREAMS + "/cancel", sent), 400, param)


async def test_a_defect_is_500_without_its_trace_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        async def status(self, stream_id: str) -> Any:
            raise ZeroDivisionError("secret detail")

    expected: list[str] = []
    async with serving(store=Broken(now=lambda: 0.0)) as server:
        for target in (f"{STREAMS}/{UNKNOWN}", f"{CHAT}/{UNKNOWN}"):
            answer = await server.ask("GET", target)
            expected.append(f"defect in GET {target}, request {answer.request_id}")
            assert answer.error is None and answer.status == 500
            assert answer.error_fields()["code"] == "internal_error" and b"secret" not in answer.body
            assert answer.headers["x-should-retry"] == "false"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == expected


@pytest.mark.promise("P5")
async def test_a_defect_in_the_middle_aborts_the_body_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    gate = anyio.Event()
    no_json = [Chunk((ChoiceEnd(0, cast("str", object())),))]
    async with serving([[OPENING], text("Hel"), gate, no_json, anyio.Event()]) as server:
        answer = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        gate.set()
        await answer.end()
        assert answer.aborted and answer.error is None and b"[DONE]" not in answer.body
        assert (await server.ask("GET", "/health")).status == 200
    (message,) = [record.message for record in caplog.records if record.name == "headrace.app"]
    assert message == f"defect in POST {CHAT}, request {answer.request_id}"


@pytest.mark.parametrize("path", [*CREATE, STREAMS + "/cancel"])
async def test_a_caller_that_leaves_while_it_sends_is_no_defect(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        answer = await server.ask("POST", path, pieces=[b'{"model": ', LEAVE])
        assert answer.error is None and server.provider.asked == []
    assert [record for record in caplog.records if record.levelno >= 30] == []


async def test_a_server_that_is_stopping_says_when_to_come_back() -> None:
    provider = ScriptedProvider()
    app = create_app(configured(), providers=lambda *_: provider)
    exchange = Exchange(app, scope("POST", CHAT, {"host": "localhost", "content-type": "application/json"}), [body()])
    with anyio.fail_after(5):
        await exchange.run()
    assert exchange.status == 503 and exchange.error_fields()["code"] == "overloaded"
    assert exchange.headers["retry-after"] == "1" and "x-should-retry" not in exchange.headers


@pytest.mark.promise("P10")
async def test_fifty_parallel_posts_with_one_key_make_one_upstream_call() -> None:
    gate = anyio.Event()
    async with serving([gate, *HELLO]) as server:
        exchanges = [server.begin("POST", CHAT, STREAMED, {"idempotency-key": "k"}) for _ in range(50)]
        while not server.provider.asked:
            await server.ask("GET", "/health")
        gate.set()
        for exchange in exchanges:
            await exchange.end()
        late = await server.stream(headers={"idempotency-key": "k"})
        assert len(server.provider.asked) == 1
    assert {exchange.body for exchange in exchanges} == {late.body} and late.complete
    replayed = [exchange.headers.get("idempotent-replayed") for exchange in exchanges]
    assert replayed.count("true") == 49 and replayed.count(None) == 1
    assert late.headers["idempotent-replayed"] == "true" and len({each.stream_id for each in exchanges}) == 1
    assert 409 not in {exchange.status for exchange in exchanges}


@pytest.mark.promise("P10")
async def test_a_replay_of_making_a_stream_is_200_and_says_its_real_state() -> None:
    async with serving() as server:
        first = await server.ask("POST", STREAMS, ASKED, {"idempotency-key": "k"})
        await server.ask("GET", first.headers["location"] + "/events")
        again = await server.ask("POST", STREAMS, ASKED, {"idempotency-key": "k"})
        assert (first.status, again.status) == (201, 200)
        assert again.json() == first.json() | {"state": "finished"}
        assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers


@pytest.mark.promise("P10")
async def test_a_key_with_another_body_is_422_and_never_409() -> None:
    async with serving() as server:
        await server.stream(headers={"idempotency-key": "k"})
        for other in (ASKED, {**STREAMED, "temperature": 1}, {**STREAMED, "user": "x"}):
            answer = await server.ask("POST", CHAT, other, {"idempotency-key": "k"})
            check(answer, 422, code="idempotency_key_reused")
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P10")
async def test_the_same_json_written_otherwise_is_the_same_body() -> None:
    async with serving() as server:
        await server.stream(headers={"idempotency-key": "k"})
        turned = json.dumps(dict(reversed(STREAMED.items())), indent=2).encode()
        answer = await server.ask("POST", CHAT, turned, {"idempotency-key": "k"})
        assert answer.headers["idempotent-replayed"] == "true"


@pytest.mark.promise("P10")
async def test_a_key_belongs_to_one_route() -> None:
    async with serving() as server:
        for target in (CHAT, STREAMS):
            answer = await server.ask("POST", target, ASKED, {"idempotency-key": "k"})
            assert answer.status in (200, 201) and "idempotent-replayed" not in answer.headers
        assert len(server.provider.asked) == 2


@pytest.mark.promise("P10")
async def test_a_stream_that_failed_late_is_replayed_and_not_to_be_retried() -> None:
    async with serving([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")], HELLO) as server:
        answers = [await server.ask("POST", CHAT, ASKED, {"idempotency-key": "k"}) for _ in range(2)]
        assert len(server.provider.asked) == 1
        assert (await server.ask("POST", CHAT, ASKED)).status == 200
    for answer in answers:
        assert answer.status == 502 and answer.headers["x-should-retry"] == "false"
        assert answer.error_fields()["partial"] == "Hel"
    assert answers[1].headers["idempotent-replayed"] == "true"


@pytest.mark.promise("P10")
async def test_a_stream_that_failed_before_it_said_anything_frees_its_key() -> None:
    async with serving([UpstreamUnavailable("Down.")], HELLO) as server:
        first = await server.ask("POST", CHAT, ASKED, {"idempotency-key": "k"})
        assert first.status == 503 and "x-should-retry" not in first.headers
        second = await server.ask("POST", CHAT, ASKED, {"idempotency-key": "k"})
        assert second.status == 200 and "idempotent-replayed" not in second.headers


@pytest.mark.promise("P10")
async def test_a_deleted_stream_frees_its_key() -> None:
    async with serving() as server:
        first = await server.stream(headers={"idempotency-key": "k"})
        await server.ask("DELETE", f"{STREAMS}/{first.stream_id}")
        second = await server.stream(headers={"idempotency-key": "k"})
        assert second.status == 200 and second.stream_id != first.stream_id
        assert "idempotent-replayed" not in second.headers
