"""Two servers that share a Valkey: what one produces, the other reads, joins and stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.asking import question
from tests.e2e.processes import HEADRACE, Server, command, eventually, serving
from tests.e2e.raw import Exchange, frames
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Disconnect, chunk, delta, head
from tests.stores.redis.servers import VALKEY
from tests.stores.redis.servers import serving as redis_serving

PARTIAL = "The river"
SSE = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def pair(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        store = stack.enter_context(redis_serving(VALKEY, tmp_path_factory.mktemp("valkey")))
        address = {"OPENAI_BASE_URL": scripted_upstream.url, "OPENAI_API_KEY": "sk-upstream", "REDIS_URL": store.url}
        here, there = (
            stack.enter_context(serving(tmp_path_factory.mktemp(name), **address)) for name in ("here", "there")
        )
        yield here, there


def events(server: Server, stream_id: str, query: str = "format=openai.chat") -> str:
    return f"{server.api}/streams/{stream_id}/events?{query}"


@pytest.mark.promise("P2", "P4", "P9")
def test_a_stream_is_read_and_resumed_on_another_server(upstream: Upstream, pair: tuple[Server, Server]) -> None:
    here, there = pair
    gate = upstream.gate()
    words = [chunk(delta(content=f" {number}")) for number in range(50)]
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, *words, chunk(delta("stop"), DONE), END)
    with Exchange(f"{here.api}/chat/completions", "POST", question(stream=True)) as posted:
        posted.until(lambda data: PARTIAL.encode() in data)
        stream_id = posted.headers["headrace-stream-id"]
        with (
            Exchange(events(there, stream_id), headers=SSE) as other,
            Exchange(events(there, stream_id, "format=openai.chat&skip=1"), headers=SSE) as resumed,
        ):
            other.until(lambda data: PARTIAL.encode() in data)
            gate.open()
            whole = list(frames(posted.rest()))
            assert list(frames(other.rest())) == whole
            assert list(frames(resumed.rest())) == whole[1:]
            assert posted.clean and other.clean and resumed.clean
    with Exchange(events(there, stream_id), headers=SSE) as late:
        assert list(frames(late.rest())) == whole


@pytest.mark.promise("P7")
def test_a_stop_on_one_server_closes_the_upstream_of_another(upstream: Upstream, pair: tuple[Server, Server]) -> None:
    here, there = pair
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with Exchange(f"{here.api}/chat/completions", "POST", question(stream=True)) as posted:
        posted.until(lambda data: PARTIAL.encode() in data)
        stream_id = posted.headers["headrace-stream-id"]
        with Exchange(f"{there.api}/streams/{stream_id}/cancel", "POST", {}) as stopped:
            assert stopped.status == 200
        upstream.left()
        assert b"cancelled" in posted.rest()
    with Exchange(f"{there.api}/streams/{stream_id}") as looked:
        assert looked.json()["state"] == "cancelled"


@pytest.mark.promise("P10")
def test_a_key_that_one_server_has_joins_its_stream_on_another(upstream: Upstream, pair: tuple[Server, Server]) -> None:
    here, there = pair
    upstream.play(head(), chunk(delta(content=PARTIAL)), chunk(delta("stop"), DONE), END)
    headers = {"Idempotency-Key": "the-same"}
    with Exchange(f"{here.api}/chat/completions", "POST", question(), headers=headers) as first:
        answer = first.json()
    with Exchange(f"{there.api}/chat/completions", "POST", question(), headers=headers) as again:
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == answer
    assert len(upstream.requests) == 1


def test_what_a_server_has_is_listed_and_deleted_on_another(upstream: Upstream, pair: tuple[Server, Server]) -> None:
    here, there = pair
    upstream.play(head(), chunk(delta(content=PARTIAL)), chunk(delta("stop"), DONE), END)
    with Exchange(f"{here.api}/chat/completions", "POST", question()) as posted:
        stream_id = posted.headers["headrace-stream-id"]
        assert posted.status == 200
    with Exchange(f"{there.api}/streams?limit=1") as listed:
        assert [stream["id"] for stream in listed.json()["data"]] == [stream_id]
    with Exchange(f"{there.api}/streams/{stream_id}", "DELETE") as deleted:
        assert deleted.status in (200, 204)

    def gone() -> bool:
        with Exchange(f"{here.api}/streams/{stream_id}") as looked:
            return looked.status == 404

    eventually(gone)


@pytest.mark.promise("P36")
def test_a_store_that_is_not_there_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = command(
        HEADRACE, "serve", "--port", "0", OPENAI_API_KEY="sk-upstream", REDIS_URL="redis://:hunter2@127.0.0.1:1"
    )
    assert done.returncode == 2
    assert "redis_url: Redis at 127.0.0.1:1 cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr and "hunter2" not in done.stderr
