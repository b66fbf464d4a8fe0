"""A server is killed in the middle of an answer: another one that shares its Valkey ends the stream, or goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.asking import question
from tests.e2e.processes import Server, eventually, serving
from tests.e2e.raw import Exchange, events, frames, get
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Disconnect, chunk, delta, head
from tests.stores.redis.servers import VALKEY
from tests.stores.redis.servers import Server as Valkey
from tests.stores.redis.servers import serving as redis_serving

PARTIAL = "The river"
SSE = {"Accept": "text/event-stream"}

pytestmark = pytest.mark.promise("P3")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with redis_serving(VALKEY, tmp_path_factory.mktemp("valkey")) as store:
        yield store


@contextmanager
def pair(upstream: Upstream, store: Valkey, directory: Path, on_loss: str) -> Iterator[tuple[Server, Server]]:
    """Two servers of one cluster, whose leases are short."""
    shared = {
        "OPENAI_BASE_URL": upstream.url,
        "OPENAI_API_KEY": "sk-upstream",
        "REDIS_URL": store.url,
        "HEADRACE_REDIS_PREFIX": f"{on_loss}:",
        "HEADRACE_LEASE_SECONDS": "1",
        "HEADRACE_ON_PRODUCER_LOSS": on_loss,
    }
    with ExitStack() as stack:
        servers: list[Server] = []
        for name in ("here", "there"):
            (directory / name).mkdir()
            servers.append(stack.enter_context(serving(directory / name, **shared)))
        yield servers[0], servers[1]


def read(server: Server, stream_id: str, form: str = "openai.chat", skip: int = 0) -> Exchange:
    query = f"format={form}" + (f"&skip={skip}" if skip else "")
    return Exchange(f"{server.api}/streams/{stream_id}/events?{query}", headers=SSE)


@pytest.mark.promise("P5")
def test_readers_of_a_server_that_is_killed_are_told_by_another(
    upstream: Upstream, valkey: Valkey, tmp_path: Path
) -> None:
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with pair(upstream, valkey, tmp_path, "fail") as (here, there):
        with Exchange(f"{here.api}/chat/completions", "POST", question(stream=True)) as posted:
            posted.until(lambda data: PARTIAL.encode() in data)
            stream_id = posted.headers["headrace-stream-id"]
            with read(there, stream_id) as other:
                other.until(lambda data: PARTIAL.encode() in data)
                here.kill()
                *said, failure = frames(other.rest())
                assert not other.clean
        assert PARTIAL.encode() in b"".join(said)
        assert json.loads(failure)["error"]["code"] == "producer_lost"
        found = get(f"{there.api}/streams/{stream_id}")
        assert (found["state"], found["error"]["code"], found["text"]) == ("failed", "producer_lost", PARTIAL)
        assert found["usage"]["source"] == "partial"
        eventually(lambda: there.lines)
        (line,) = there.lines
        assert (line["id"], line["code"], line["ttft_ms"]) == (stream_id, "producer_lost", None)
    assert len(upstream.requests) == 1


@pytest.mark.promise("P4")
def test_an_answer_whose_server_is_killed_goes_on_with_another_as_one(
    upstream: Upstream, valkey: Valkey, tmp_path: Path
) -> None:
    upstream.play(head(), chunk(delta(role="assistant", content=""), delta(content=PARTIAL)), Disconnect())
    with pair(upstream, valkey, tmp_path, "continue") as (here, there):
        with Exchange(f"{here.api}/chat/completions", "POST", question(stream=True)) as posted:
            posted.until(lambda data: PARTIAL.encode() in data)
            stream_id = posted.headers["headrace-stream-id"]
            upstream.play(
                *(head(), chunk(delta(role="assistant", content=""), delta(content=" runs"))),
                *(chunk(delta(content=" on.")), chunk(delta("stop"), DONE), END),
            )
            with read(there, stream_id) as other:
                other.until(lambda data: PARTIAL.encode() in data)
                here.kill()
                whole = list(frames(other.rest()))
                assert other.clean
            seen = sum(1 for _ in events(posted.rest()))
            assert not posted.clean
        assert whole[-1] == b"[DONE]"
        deltas = [choice["delta"] for each in whole[:-1] for choice in json.loads(each)["choices"]]
        assert "".join(each.get("content") or "" for each in deltas) == PARTIAL + " runs on."
        assert sum("role" in each for each in deltas) == 1
        with read(there, stream_id, skip=seen) as resumed:
            assert list(frames(resumed.rest())) == whole[seen:]
        (asked,) = upstream.requests
        assert asked.json()["messages"][-1] == {"role": "assistant", "content": PARTIAL}
        assert asked.json()["continue_final_message"] is True
        found = get(f"{there.api}/streams/{stream_id}")
        assert (found["state"], found["text"]) == ("finished", f"{PARTIAL} runs on.")
        assert found["usage"]["source"] == "estimated"
        with read(there, stream_id, "native") as native:
            records = [json.loads(each) for each in frames(native.rest())]
    codes = [event["code"] for record in records for event in record["events"] if event["type"] == "status"]
    assert codes == ["continued"]
