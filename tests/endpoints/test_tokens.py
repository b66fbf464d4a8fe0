"""`POST /v1/streams/{id}/token`, and reading with what it gives."""

import logging

import pytest

from headrace.config import Secret
from headrace.stores.memory import MemoryStore
from tests.endpoints.serving import ALICE, ASKED, BOB, SSE, STREAMS, TWO_KEYS, UNKNOWN, serving

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P32")]

SECRET = Secret("0123456789abcdef0123456789abcdef")
READS = ("/v1/streams/{}", "/v1/streams/{}/events", "/v1/chat/completions/{}", "/v1/chat/completions/chatcmpl-{}")
NO_READS = (
    ("POST", "/v1/streams/{}/cancel"),
    ("POST", "/v1/streams/{}/token"),
    ("DELETE", "/v1/streams/{}"),
    ("GET", "/v1/streams/{}/export"),
    ("GET", "/v1/streams"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("GET", "/stream"),
    ("POST", "/v1/streams"),
)


async def test_a_token_reads_the_stream_without_a_key_in_every_form() -> None:
    async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
        made = await server.ask("POST", STREAMS, ASKED, key=ALICE)
        stream_id = made.stream_id
        with_key = await server.ask("GET", f"/v1/streams/{stream_id}/events", key=ALICE)
        answer = (await server.ask("POST", f"/v1/streams/{stream_id}/token", {"ttl_s": 60}, key=ALICE)).json()
        assert answer["mode"] == "read"
        assert answer["expires_at"] == int(server.clock.wall()) + 60
        by_url = await server.ask("GET", answer["url"], key=None)
        assert (by_url.status, by_url.body) == (200, with_key.body)
        for target in READS:
            read = await server.ask("GET", f"{target.format(stream_id)}?token={answer['token']}", headers=SSE, key=None)
            assert read.status == 200, target


@pytest.mark.parametrize(("method", "target"), NO_READS)
async def test_a_token_does_nothing_but_read(method: str, target: str) -> None:
    async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED, key=ALICE)).stream_id
        token = (await server.ask("POST", f"/v1/streams/{stream_id}/token", key=ALICE)).json()["token"]
        refused = await server.ask(method, f"{target.format(stream_id)}?token={token}", key=None)
        assert refused.status == 403
        assert (await server.ask("GET", f"/v1/streams/{stream_id}", key=ALICE)).status == 200


async def test_a_token_is_refused_for_another_stream_after_its_time_and_with_another_secret() -> None:
    async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
        one, other = [(await server.ask("POST", STREAMS, ASKED, key=ALICE)).stream_id for _ in range(2)]
        token = (await server.ask("POST", f"/v1/streams/{one}/token", {"mode": "read", "ttl_s": 5}, key=ALICE)).json()
        wrong = await server.ask("GET", f"/v1/streams/{other}/events?token={token['token']}", key=None)
        assert (wrong.status, wrong.error_fields()["code"]) == (401, "invalid_token")
        junk = await server.ask("GET", f"/v1/streams/{one}/events?token=r.1.x", key=None)
        assert (junk.status, junk.error_fields()["code"]) == (401, "invalid_token")
        server.clock.advance(5)
        late = await server.ask("GET", token["url"], key=None)
        assert (late.status, late.error_fields()["code"]) == (401, "token_expired")


async def test_only_the_owner_gets_a_token() -> None:
    async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED, key=ALICE)).stream_id
        assert (await server.ask("POST", f"/v1/streams/{stream_id}/token", key=BOB)).status == 404
        assert (await server.ask("POST", f"/v1/streams/{UNKNOWN}/token", key=ALICE)).status == 404


async def test_a_key_that_is_sent_counts_and_the_token_beside_it_does_not() -> None:
    async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED, key=ALICE)).stream_id
        token = (await server.ask("POST", f"/v1/streams/{stream_id}/token", key=ALICE)).json()["token"]
        assert (await server.ask("GET", f"/v1/streams/{stream_id}?token={token}", key=BOB)).status == 404


async def test_a_token_of_a_deleted_stream_finds_nothing() -> None:
    async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED, key=ALICE)).stream_id
        token = (await server.ask("POST", f"/v1/streams/{stream_id}/token", key=ALICE)).json()
        await server.ask("DELETE", f"/v1/streams/{stream_id}", key=ALICE)
        assert (await server.ask("GET", token["url"], key=None)).status == 404


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    ("body", "field"),
    [({"mode": "write"}, "mode"), ({"ttl_s": 601}, "ttl_s"), ({"ttl_s": 0}, "ttl_s"), ({"x": 1}, "x")],
)
async def test_a_wrong_wish_names_its_field(body: dict[str, object], field: str) -> None:
    async with serving() as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED)).stream_id
        refused = await server.ask("POST", f"/v1/streams/{stream_id}/token", body)
        assert (refused.status, refused.error_fields()["param"]) == (400, field)


@pytest.mark.promise("P36")
async def test_no_log_line_has_a_token(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(api_keys=TWO_KEYS, secret=SECRET) as server:
            stream_id = (await server.ask("POST", STREAMS, ASKED, key=ALICE)).stream_id
            token = (await server.ask("POST", f"/v1/streams/{stream_id}/token", key=ALICE)).json()
            await server.ask("GET", token["url"], key=None)
            refused = await server.ask("GET", f"/v1/models?token={token['token']}", key=None)
    assert token["token"] not in caplog.text
    assert token["token"] not in refused.body.decode()


async def test_servers_of_one_store_take_each_others_tokens_without_being_told_a_secret() -> None:
    store = MemoryStore(now=lambda: 0.0)
    async with serving(store=store) as one, serving(store=store) as other:
        stream_id = (await one.ask("POST", STREAMS, ASKED)).stream_id
        token = (await one.ask("POST", f"/v1/streams/{stream_id}/token")).json()
        assert (await other.ask("GET", token["url"])).status == 200
    async with serving() as stranger:
        stranger_id = (await stranger.ask("POST", STREAMS, ASKED)).stream_id
        url = token["url"].replace(stream_id, stranger_id)
        assert (await stranger.ask("GET", url)).status == 401
