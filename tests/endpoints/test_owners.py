"""Two keys: what is one's does not exist for the other (P32); no key is found where it does not belong (P34, P36)."""

import json
import logging
from typing import Any, cast

import anyio
import msgspec
import pytest

from headrace.bodies import Body
from headrace.config import Config, Model, Secret
from headrace.errors import UpstreamUnavailable
from headrace.providers import create
from headrace.stores.memory import MemoryStore
from headrace.telemetry import stream_log
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    BOB,
    CHAT,
    HELLO,
    OPENING,
    SSE,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    serving,
    text,
)
from tests.servers.scripted import DONE, END, ScriptedServer, chat, chunk, delta, head, whole

pytestmark = pytest.mark.anyio

ON_A_STREAM: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/v1/streams/{}", {}),
    ("GET", "/v1/streams/chatcmpl-{}", {}),
    ("GET", "/v1/streams/{}/events", {}),
    ("GET", "/v1/streams/{}/events?format=text", {"accept": "text/plain"}),
    ("GET", "/v1/streams/{}/events", {"last-event-id": "n1.1"}),
    ("GET", "/v1/streams/{}/events?skip=999999", {}),
    ("GET", "/v1/streams/{}/export", {}),
    ("GET", "/v1/streams?before={}", {}),
    ("POST", "/v1/streams/{}/cancel", {}),
    ("DELETE", "/v1/streams/{}", {}),
    ("GET", "/v1/chat/completions/{}", {}),
    ("GET", "/v1/chat/completions/chatcmpl-{}", SSE),
    ("GET", "/v1/chat/completions/{}", SSE | {"last-event-id": "c1.999"}),
    ("GET", "/v1/messages/{}", {}),
    ("GET", "/v1/messages/msg_{}", SSE),
    ("GET", "/v1/messages/{}", SSE | {"last-event-id": "a1.999"}),
    ("GET", "/v1/responses/resp_{}", {}),
    ("GET", "/v1/responses/{}?stream=true", {}),
    ("GET", "/v1/responses/{}?stream=true&starting_after=999", {}),
    ("GET", "/v1/responses/{}/input_items", {}),
    ("POST", "/v1/responses/resp_{}/cancel", {}),
    ("DELETE", "/v1/responses/{}", {}),
    ("GET", "/v1/streams/{}/export", {}),
    ("GET", "/v1/streams/{}/export?partial=true", {}),
    ("GET", "/stream?prompt=Hi&last_event_id={}:c1.1", {}),
    ("GET", "/stream?prompt=Hi", {"last-event-id": "{}:c1.1"}),
]


@pytest.mark.promise("P32")
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(("method", "target", "headers"), ON_A_STREAM)
async def test_anothers_stream_looks_like_one_that_never_was(
    method: str, target: str, headers: dict[str, str], running: bool
) -> None:
    script = [[OPENING], text("Hel"), anyio.Event()] if running else HELLO
    async with serving(script, api_keys=TWO_KEYS) as server:
        made = await server.open("POST", CHAT, STREAMED, key=ALICE)
        await made.has(b"Hel")
        if not running:
            await made.end()
        seen: list[tuple[int, bytes, dict[str, str]]] = []
        for stream_id in (made.stream_id, UNKNOWN):
            own = {name: value.format(stream_id) for name, value in headers.items()}
            answer = await server.ask(method, target.format(stream_id), None, own, key=BOB)
            body = answer.body.replace(stream_id.encode(), b"ID")
            seen.append((answer.status, body, answer.headers))
        assert seen[0] == seen[1] and seen[0][0] == 404
        state = await server.ask("GET", f"{STREAMS}/{made.stream_id}", key=ALICE)
        assert state.status == 200 and state.json()["state"] == ("running" if running else "finished")
        assert len(server.provider.asked) == 1


@pytest.mark.promise("P32")
async def test_a_list_has_only_ones_own() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        mine = [(await server.stream(key=ALICE)).stream_id for _ in range(3)]
        theirs = [(await server.stream(key=BOB)).stream_id for _ in range(2)]
        for key, ids in ((ALICE, mine), (BOB, theirs)):
            for query in ("", "?state=finished", "?limit=100"):
                listed = (await server.ask("GET", STREAMS + query, key=key)).json()
                assert [row["id"] for row in listed["data"]] == ids[::-1] and not listed["has_more"]


@pytest.mark.promise("P10", "P32")
async def test_one_idempotency_key_is_two_peoples_two_streams() -> None:
    same = {"idempotency-key": "order-7"}
    async with serving(api_keys=TWO_KEYS) as server:
        mine = await server.stream(headers=same, key=ALICE)
        other_body = await server.ask("POST", CHAT, ASKED, same, key=BOB)
        assert other_body.status == 200 and "idempotent-replayed" not in other_body.headers
        again = await server.stream(headers=same, key=ALICE)
        assert again.stream_id == mine.stream_id != other_body.stream_id
        assert len(server.provider.asked) == 2


@pytest.mark.promise("P32")
async def test_a_cancel_by_key_reaches_only_ones_own() -> None:
    asked = {"idempotency_key": "order-7"}
    async with serving([[OPENING], text("Hel"), anyio.Event()], api_keys=TWO_KEYS) as server:
        made = await server.open("POST", CHAT, STREAMED, {"idempotency-key": "order-7"}, key=ALICE)
        foreign = await server.ask("POST", STREAMS + "/cancel", asked, key=BOB)
        unknown = await server.ask("POST", STREAMS + "/cancel", {"idempotency_key": "none"}, key=BOB)
        assert foreign.status == 404
        assert (foreign.status, foreign.body, foreign.headers) == (unknown.status, unknown.body, unknown.headers)
        assert (await server.ask("GET", f"{STREAMS}/{made.stream_id}", key=ALICE)).json()["state"] == "running"
        mine = await server.ask("POST", STREAMS + "/cancel", asked, key=ALICE)
        assert mine.status == 200 and mine.json()["id"] == made.stream_id


@pytest.mark.promise("P32")
async def test_what_is_seen_of_a_stream_does_not_name_anothers_key() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        made = await server.stream(key=ALICE)
        for target in ("/v1/streams", f"/v1/streams/{made.stream_id}"):
            assert b"bob" not in (await server.ask("GET", target, key=ALICE)).body


class Spy(MemoryStore):
    """Keeps everything that a store is given."""

    def __init__(self) -> None:
        super().__init__(now=lambda: 0.0)
        self.seen: list[bytes] = []

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Any:
        self.seen += [owner.encode(), request]
        return await super().acquire(stream_id, owner, request, ttl)

    async def append(self, lease: Any, first_seq: int, records: Any) -> None:
        self.seen.append(msgspec.json.encode(records))
        await super().append(lease, first_seq, records)

    async def finish(self, lease: Any, record: Any) -> None:
        self.seen.append(msgspec.json.encode(record))
        await super().finish(lease, record)

    async def claim(self, name: str, value: str, ttl: float) -> str:
        self.seen += [name.encode(), value.encode()]
        return await super().claim(name, value, ttl)


ODD_PLACES: list[tuple[str, str, dict[str, str]]] = [
    ("POST", CHAT, {"authorization": f"Bearer {ALICE}", "idempotency-key": "k"}),
    ("POST", CHAT, {"x-api-key": ALICE}),
    ("POST", STREAMS, {"authorization": f"Bearer {ALICE}", "x-api-key": BOB, "cookie": f"token={BOB}"}),
    ("POST", f"{CHAT}?api_key={ALICE}", {"authorization": f"Bearer {ALICE}"}),
    ("POST", CHAT, {"authorization": f"Basic {ALICE}"}),
    ("POST", CHAT, {"authorization": ALICE}),
    ("POST", CHAT, {"authorization": f"Bearer {ALICE}{BOB}"}),
    ("GET", f"/stream?prompt=Hi&key={ALICE}", {"authorization": f"Bearer {ALICE}"}),
    ("GET", f"/stream?prompt=Hi&api_key={ALICE}", {}),
    ("GET", f"{STREAMS}?token={ALICE}", {"proxy-authorization": f"Bearer {ALICE}"}),
]


@pytest.mark.promise("P34", "P36")
@pytest.mark.parametrize("script", [HELLO, [[OPENING], UpstreamUnavailable("Down.")], [ZeroDivisionError()]])
async def test_no_key_is_in_a_log_a_record_the_store_an_error_or_what_a_provider_gets(
    script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Spy()
    said: list[bytes] = []
    async with serving(script, store=store, api_keys=TWO_KEYS) as server:
        for method, target, headers in ODD_PLACES:
            answer = await server.ask(method, target, STREAMED if target.startswith(CHAT) else None, headers)
            said += [answer.body, str(answer.raw_headers).encode()]
        server.clock.advance(5)
        assert server.provider.asked
        given = [msgspec.json.encode(request) + cast("bytes", request.body) for request in server.provider.asked]
    logged = [caplog.text.encode(), *(str(vars(record)).encode() for record in caplog.records)]
    for place in (store.seen, said, given, logged):
        assert place
        for each in place:
            assert b"s3cret" not in each


@pytest.mark.promise("P34", "P36")
async def test_a_callers_credentials_do_not_reach_the_model_server() -> None:
    upstream_key = "upstream-s3cret"
    async with ScriptedServer() as upstream:
        upstream.script(head(), chunk(chat("Hello")), END)
        models = (Model(name="demo", upstream_model="up", base_url=upstream.url, api_key=Secret(upstream_key)),)
        async with serving(models=models, api_keys=TWO_KEYS, providers=create) as server:
            headers = {"x-api-key": BOB, "cookie": f"session={BOB}", "openai-organization": "org-s3cret"}
            answer = await server.stream(
                headers={**headers, "proxy-authorization": f"Bearer {BOB}", "forwarded": "for=s3cret"}, key=ALICE
            )
            assert answer.complete
        (request,) = upstream.requests
    assert request.headers["authorization"] == f"Bearer {upstream_key}"
    sent = json.dumps({**request.headers, "authorization": ""}) + request.body.decode() + request.path
    assert "s3cret" not in sent and "cookie" not in request.headers and "x-api-key" not in request.headers


@pytest.mark.promise("P19", "P36")
async def test_the_operators_key_is_not_shown_when_the_model_server_refuses_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    complaint = json.dumps({"error": {"message": "Incorrect API key provided: upstream-s3cret"}}).encode()
    store = Spy()
    async with ScriptedServer() as upstream:
        upstream.script(whole(complaint, 401))
        models = (Model(name="demo", upstream_model="up", base_url=upstream.url, api_key=Secret("upstream-s3cret")),)
        async with serving(models=models, providers=create, store=store) as server:
            answer = await server.ask("POST", CHAT, ASKED)
    assert answer.status == 502 and answer.error_fields()["code"] == "upstream_auth"
    assert answer.headers["x-should-retry"] == "false"
    for place in (answer.body, caplog.text.encode(), *store.seen):
        assert b"s3cret" not in place


PRIVATE: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "my-private-question"}]}


@pytest.mark.promise("P36")
@pytest.mark.parametrize("log_content", [False, True])
async def test_prompts_and_answers_are_logged_only_if_somebody_wants_it(
    log_content: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = [[OPENING], text("my-private-answer"), UpstreamUnavailable("Down: my-private-question.")]
    async with serving(script, log_content=log_content, api_keys=TWO_KEYS, key=ALICE) as server:
        for body in (PRIVATE, {**PRIVATE, "stream": True}):
            await server.ask("POST", CHAT, body)
        await server.ask("GET", "/stream?prompt=my-private-question")
        await server.ask("POST", CHAT, {**PRIVATE, "temperature": "my-private-mistake"})
    assert "my-private-mistake" not in caplog.text and ALICE not in caplog.text
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == stream_log.LOGGER]
    assert len(lines) == 3
    if not log_content:
        assert "my-private" not in caplog.text
        return
    for line in lines:
        assert json.loads(line["request"])["messages"] == PRIVATE["messages"]
        assert (line["answer"], line["message"]) == ("my-private-answer", "Down: my-private-question.")


REPEATED: dict[str, Any] = {
    "message": "You asked: my-private-question",
    "code": "flagged",
    "param": "my-private-question",
    "metadata": {"flagged_input": "my-private-question"},
}
COMPLAINT = json.dumps({"error": REPEATED}).encode()
ECHOES: dict[str, tuple[Any, ...]] = {
    **{str(status): (whole(COMPLAINT, status),) for status in (200, 400, 401, 403, 404, 422, 429, 500, 503)},
    "text": (whole(b"You asked: my-private-question", 500, "text/plain"),),
    "redirect": (whole(COMPLAINT, 307),),
    "error frame": (head(), chunk(delta(content="Hel")), chunk(b"data: " + COMPLAINT + b"\n\n"), END),
    "no frame": (head(), chunk(b"data: my-private-question\n\n"), END),
    "finish reason": (head(), chunk(delta(content="Hel"), delta("You asked: my-private-question"), DONE), END),
}


@pytest.mark.promise("P36")
@pytest.mark.parametrize("kind", ECHOES)
async def test_a_model_server_that_repeats_the_prompt_does_not_bring_it_into_the_log(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedServer() as upstream:
        upstream.script(*ECHOES[kind])
        model = Model(name="demo", upstream_model="up", base_url=upstream.url, retries=0)
        async with serving(models=(model,), providers=create) as server:
            for body in (PRIVATE, {**PRIVATE, "stream": True}):
                assert (await server.ask("POST", CHAT, body)).body
    assert len([record for record in caplog.records if record.name == stream_log.LOGGER]) == 2
    assert "my-private" not in caplog.text


@pytest.mark.promise("P36")
def test_a_configuration_does_not_show_its_keys() -> None:
    config = Config(api_keys=TWO_KEYS, models=(Model(name="m", upstream_model="u", api_key=Secret("s3cret")),))
    assert "s3cret" not in f"{config!r} {config}"
