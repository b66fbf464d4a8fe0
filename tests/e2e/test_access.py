"""Two keys on one server: what one of them makes does not exist for the other."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.e2e.asking import question, read_again
from tests.e2e.processes import HEADRACE, Server, command, serving
from tests.e2e.raw import Exchange, get
from tests.e2e.upstream import Upstream
from tests.servers.scripted import END, Disconnect, chat, chunk, delta, head

ALICE, BOB = "sesame-of-alice-41", "sesame-of-bob-42"
UPSTREAM = "sk-upstream-secret-43"


@pytest.fixture(scope="module")
def server(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    extra = {
        "OPENAI_BASE_URL": scripted_upstream.url,
        "OPENAI_API_KEY": UPSTREAM,
        "HEADRACE_API_KEYS": f"alice={ALICE},bob={BOB}",
        "HEADRACE_LOG_LEVEL": "debug",
    }
    with serving(tmp_path_factory.mktemp("access"), **extra) as server:
        yield server
        server.end()
        assert [key for key in (ALICE, BOB, UPSTREAM) if key in server.output] == []


@pytest.fixture
def clients(server: Server) -> Iterator[tuple[openai.OpenAI, openai.OpenAI]]:
    with (
        openai.OpenAI(base_url=server.api, api_key=ALICE) as alice,
        openai.OpenAI(base_url=server.api, api_key=BOB) as bob,
    ):
        yield alice, bob


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.promise("P32")
def test_another_owners_stream_does_not_exist(server: Server, upstream: Upstream, clients):
    alice, bob = clients
    upstream.play(head(), chunk(delta(content="For Alice only")), Disconnect())
    with alice.chat.completions.create(**question(), stream=True, extra_headers={"Idempotency-Key": "k"}) as stream:
        stream_id = next(stream).id
        with pytest.raises(openai.NotFoundError):
            bob.chat.completions.retrieve(stream_id)
        with pytest.raises(openai.NotFoundError):
            read_again(bob, stream_id)
        path = f"{server.api}/streams/{stream_id}"
        answers = []
        for method, url in (
            ("GET", path),
            ("GET", f"{path}/events"),
            ("POST", f"{path}/cancel"),
            ("DELETE", path),
        ):
            other = url.replace(stream_id, f"chatcmpl-{'0' * 32}")
            with (
                Exchange(url, method, headers=bearer(BOB)) as foreign,
                Exchange(other, method, headers=bearer(BOB)) as unknown,
            ):
                assert (foreign.status, unknown.status) == (404, 404)
                answers.append((foreign.json(), unknown.json()))
        for foreign_body, unknown_body in answers:
            assert foreign_body["error"]["code"] == unknown_body["error"]["code"]
        by_key = {"idempotency_key": "k"}
        with Exchange(f"{server.api}/streams/cancel", "POST", by_key, bearer(BOB)) as cancel:
            assert cancel.status == 404
        assert get(f"{server.api}/streams", **bearer(BOB))["data"] == []
        mine = get(f"{server.api}/streams", **bearer(ALICE))["data"]
        assert [f"chatcmpl-{row['id']}" for row in mine] == [stream_id]
        assert mine[0]["state"] == "running"
        with Exchange(f"{path}/cancel", "POST", headers=bearer(ALICE)) as cancel:
            assert cancel.json()["state"] == "cancelled"


@pytest.mark.promise("P10", "P32")
def test_the_same_idempotency_key_of_two_owners_is_two_streams(upstream: Upstream, clients):
    upstream.play(head(), chunk(chat("Hi")), END)
    key = {"Idempotency-Key": "shared-word"}
    ids = [client.chat.completions.create(**question(), extra_headers=key).id for client in clients]
    assert ids[0] != ids[1]
    assert len(upstream.requests) == 2


@pytest.mark.promise("P36")
def test_a_key_is_needed_and_a_wrong_one_is_not_repeated(server: Server, upstream: Upstream):
    upstream.play(head(), chunk(chat("Hi")), END)
    wrong = "sesame-of-nobody-44"
    for stream in (False, True):
        with (
            openai.OpenAI(base_url=server.api, api_key=wrong) as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.chat.completions.create(**question(), stream=stream)
        assert wrong not in caught.value.response.text
    with Exchange(f"{server.api}/models") as nobody:
        assert nobody.status == 401
    with Exchange(f"{server.url}/health") as health:
        assert health.status == 200
    assert upstream.requests == []
    assert wrong not in server.output


@pytest.mark.promise("P34", "P36")
def test_no_key_is_in_any_answer_or_upstream(server: Server, upstream: Upstream, clients):
    upstream.play(head(), chunk(chat("Hi")), END)
    answer = clients[0].chat.completions.create(**question())
    path = f"{server.api}/streams/{answer.id}"
    for url in (path, f"{path}/events", f"{server.api}/streams", f"{server.api}/models"):
        with Exchange(url, headers=bearer(ALICE)) as exchange:
            body = exchange.rest()
            assert exchange.status == 200
        assert [key for key in (ALICE, BOB, UPSTREAM) if key.encode() in body + exchange.wire] == []
    (request,) = upstream.requests
    assert ALICE not in str(request)
    assert request.headers["authorization"] == f"Bearer {UPSTREAM}"


@pytest.mark.promise("P32", "P36")
def test_the_commands_take_the_key_from_the_environment_and_do_not_show_it(server: Server, upstream: Upstream, clients):
    upstream.play(head(), chunk(chat("Hi")), END)
    stream_id = clients[0].chat.completions.create(**question()).id
    at = {"HEADRACE_URL": server.url}
    mine = command(HEADRACE, "tail", stream_id, HEADRACE_API_KEY=ALICE, **at)
    assert (mine.returncode, mine.stdout) == (0, "Hi")
    for key in (BOB, "sesame-of-nobody-44"):
        for verb in ("tail", "cancel"):
            foreign = command(HEADRACE, verb, stream_id, HEADRACE_API_KEY=key, **at)
            assert foreign.returncode == 1
            assert foreign.stdout == ""
            assert key not in foreign.stderr
            assert "Traceback" not in foreign.stderr
