"""The door: which pages and names may come in without keys (P33), and which keys with them."""

import pytest

from headrace.config import Config
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    CHAT,
    NO_HEADER,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    serving,
)

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P33")]

LAN = ("headrace.lan", "[fe80::1]")
APP = "https://app.example.com"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"host": "localhost:8000"}, True),
        ({"host": "localhost"}, True),
        ({"host": "LOCALHOST:1"}, True),
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "127.9.9.9"}, True),
        ({"host": "[::1]:8000"}, True),
        ({"host": "headrace.lan:8000"}, True),
        ({"host": "[fe80::1]:8000"}, True),
        ({"host": "evil.example"}, False),
        ({"host": "localhost.evil.example"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": "0.0.0.0:8000"}, False),
        ({"host": "192.168.1.5:8000"}, False),
        ({"host": ""}, False),
        ({"host": NO_HEADER}, False),
        ({"host": "[::1"}, False),
        ({"host": "localhost@evil.example"}, False),
        ({"host": b"\xff"}, False),
    ],
)
async def test_without_keys_only_this_machines_names_are_served(headers: dict[str, str | bytes], allowed: bool) -> None:
    async with serving(allowed_hosts=LAN) as server:
        for method, path, body in (("POST", CHAT, ASKED), ("GET", STREAMS, None), ("GET", "/health", None)):
            answer = await server.ask(method, path, body, headers)
            assert answer.status == (200 if allowed else 403)
            if not allowed:
                assert answer.error_fields()["code"] == "forbidden" and answer.error_fields()["retryable"] is False
        assert len(server.provider.asked) == allowed


PAGES = [
    ({}, True),
    ({"origin": "http://localhost:8000"}, True),
    ({"origin": "HTTP://LOCALHOST:8000"}, True),
    ({"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, True),
    ({"origin": APP, "sec-fetch-site": "cross-site"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "same-site"}, False),
    ({"origin": "https://evil.example"}, False),
    ({"origin": "http://localhost:3000"}, False),
    ({"origin": "http://localhost"}, False),
    ({"origin": "http://localhost:8000.evil.example"}, False),
    ({"origin": "null"}, False),
    ({"origin": "null", "host": ""}, False),
    ({"origin": ""}, False),
    ({"origin": "http://["}, False),
    ({"origin": "https://app.example.com.evil.example"}, False),
    ({"origin": "http://app.example.com"}, False),
]


@pytest.mark.parametrize(("headers", "allowed"), PAGES)
@pytest.mark.parametrize("no_auth", [False, True])
async def test_without_keys_foreign_pages_are_refused(headers: dict[str, str], allowed: bool, no_auth: bool) -> None:
    async with serving(no_auth=no_auth, cors_origins=(APP,)) as server:
        answers = [
            await server.ask("POST", CHAT, STREAMED, headers),
            await server.ask("POST", STREAMS, ASKED, headers),
            await server.ask("GET", "/stream?prompt=Hi", None, headers),
        ]
        assert [answer.status for answer in answers] == ([200, 201, 200] if allowed else [403, 403, 403])
        assert len(server.provider.asked) == (3 if allowed else 0)


async def test_a_form_of_a_foreign_page_cannot_post_even_without_an_origin() -> None:
    async with serving() as server:
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            for path in (CHAT, STREAMS, STREAMS + "/cancel", f"{STREAMS}/{UNKNOWN}/cancel"):
                assert (await server.ask("POST", path, ASKED, {"content-type": media_type})).status == 415
        assert server.provider.asked == []


async def test_an_open_server_is_served_under_any_name_unless_names_are_listed() -> None:
    async with serving(no_auth=True, host="0.0.0.0") as server:
        answer = await server.ask("GET", STREAMS, None, {"host": "anything.example:8000"})
        assert answer.status == 200
    async with serving(no_auth=True, host="0.0.0.0", allowed_hosts=LAN) as server:
        for host, status in (("headrace.lan", 200), ("localhost:8000", 200), ("evil.example", 403)):
            assert (await server.ask("GET", STREAMS, None, {"host": host})).status == status


async def test_with_keys_a_page_may_come_from_anywhere_but_needs_one() -> None:
    foreign = {"host": "public.example", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    async with serving(api_keys=TWO_KEYS) as server:
        assert (await server.ask("POST", CHAT, ASKED, foreign)).status == 401
        assert (await server.ask("POST", CHAT, ASKED, foreign, key=ALICE)).status == 200
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P19", "P25")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {ALICE}"}, 200),
        ({"authorization": f"bearer   {ALICE} "}, 200),
        ({"x-api-key": ALICE}, 200),
        ({"authorization": "Basic Zm9v", "x-api-key": ALICE}, 200),
        ({"authorization": "Bearer wrong", "x-api-key": ALICE}, 401),
        ({"authorization": f"Bearer {ALICE}x"}, 401),
        ({"authorization": f"Bearer {ALICE[:-1]}"}, 401),
        ({"authorization": f"Bearer {ALICE.upper()}"}, 401),
        ({"authorization": ALICE}, 401),
        ({"authorization": f"Basic {ALICE}"}, 401),
        ({"authorization": f"Bearer\t{ALICE}"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": b"Bearer \xff\xfe\x00"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "alice"}, 401),
        ({"cookie": f"key={ALICE}"}, 401),
        ({"api-key": ALICE}, 401),
    ],
)
async def test_a_key_comes_as_bearer_or_x_api_key(headers: dict[str, str | bytes], status: int) -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        answer = await server.ask("POST", CHAT, ASKED, headers)
        assert answer.status == status
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.error_fields()["type"] == "authentication_error"
            assert answer.error_fields()["code"] == "invalid_api_key"
        assert len(server.provider.asked) == (status == 200)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", CHAT),
        ("GET", f"{CHAT}/{UNKNOWN}"),
        ("POST", STREAMS),
        ("GET", STREAMS),
        ("GET", f"{STREAMS}/{UNKNOWN}"),
        ("GET", f"{STREAMS}/{UNKNOWN}/events"),
        ("POST", f"{STREAMS}/{UNKNOWN}/cancel"),
        ("POST", f"{STREAMS}/cancel"),
        ("DELETE", f"{STREAMS}/{UNKNOWN}"),
        ("GET", "/stream?prompt=Hi"),
        ("GET", f"/stream?prompt=Hi&api_key={ALICE}"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/demo"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("PUT", "/health/"),
    ],
)
async def test_every_route_but_health_wants_a_key_first(method: str, target: str) -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        answer = await server.ask(method, target, b"not even json" if method == "POST" else None)
        assert answer.status == 401 and answer.error_fields()["code"] == "invalid_api_key"
        assert server.provider.asked == []


async def test_health_needs_no_key() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        for path in ("/health", "/health/ready"):
            assert (await server.ask("GET", path)).status == 200


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


async def test_cors_is_off_by_default() -> None:
    async with serving(api_keys=TWO_KEYS, key=ALICE) as server:
        answer = await server.ask("POST", CHAT, ASKED, {"origin": APP})
        preflight = await server.ask("OPTIONS", CHAT, None, PREFLIGHT | {"origin": APP})
    assert answer.status == 200 and preflight.status == 405
    for each in (answer, preflight):
        assert not [name for name in each.headers if name.startswith("access-control")]


async def test_cors_exposes_exactly_what_a_reader_needs() -> None:
    async with serving(api_keys=TWO_KEYS, key=ALICE, cors_origins=(APP,)) as server:
        for answer in (
            await server.ask("POST", CHAT, STREAMED, {"origin": APP}),
            await server.ask("GET", f"{STREAMS}/{UNKNOWN}", None, {"origin": APP}),
            await server.ask("POST", CHAT, ASKED, {"origin": APP, "authorization": "Bearer wrong"}),
        ):
            fields = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
            assert fields == {
                "access-control-allow-origin": APP,
                "access-control-expose-headers": "Headrace-Stream-Id, Location, Retry-After",
            }
            assert answer.headers["vary"] == "Origin"
        foreign = await server.ask("POST", CHAT, ASKED, {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.promise("P16")
async def test_cors_changes_nothing_else_of_a_streams_headers() -> None:
    async with serving(cors_origins=(APP,)) as server:
        answer = await server.ask("POST", CHAT, STREAMED, {"origin": APP, "accept-encoding": "gzip, br"})
    ours = {name for name in answer.headers if not name.startswith("access-control")} - {"vary"}
    assert ours == {"content-type", "cache-control", "x-accel-buffering", "headrace-stream-id", "location"}


async def test_a_preflight_is_answered_without_a_key_to_listed_origins_only() -> None:
    async with serving(api_keys=TWO_KEYS, cors_origins=(APP,)) as server:
        allowed = await server.ask("OPTIONS", CHAT, None, PREFLIGHT | {"origin": APP})
        refused = await server.ask("OPTIONS", CHAT, None, PREFLIGHT | {"origin": "https://evil.example"})
    assert allowed.status == 200 and allowed.headers["access-control-allow-origin"] == APP
    assert allowed.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert allowed.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "access-control-allow-credentials" not in allowed.headers
    assert refused.status == 400 and "access-control-allow-origin" not in refused.headers


def test_the_defaults_let_nobody_else_in() -> None:
    config = Config()
    assert (config.host, config.api_keys, config.no_auth, config.cors_origins, config.allowed_hosts) == (
        "127.0.0.1",
        (),
        False,
        (),
        (),
    )
