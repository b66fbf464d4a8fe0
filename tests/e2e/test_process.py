"""The process: how it ends while streams run, and that it keeps nothing of those that have ended."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest

from tests.e2e.asking import finishes, question, text_of
from tests.e2e.processes import Server, eventually, serving
from tests.e2e.raw import Exchange, frames, get
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Disconnect, chunk, delta, head

PARTIAL = "The river"
STREAMS = 200
AT_ONCE = 20


def relay(directory: Path, upstream: Upstream, drain: str):
    return serving(directory, OPENAI_BASE_URL=upstream.url, OPENAI_API_KEY="sk-upstream", HEADRACE_DRAIN_TIMEOUT=drain)


@pytest.mark.promise("P3", "P5", "P11")
def test_sigterm_fails_the_streams_that_run_in_their_own_words(upstream: Upstream, tmp_path: Path):
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with relay(tmp_path, upstream, "0") as server, openai.OpenAI(base_url=server.api, api_key="none") as client:
        with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as raw:
            raw.until(lambda data: PARTIAL.encode() in data)
            with client.chat.completions.create(**question(), stream=True) as stream:
                received = [next(stream)]
                server.process.terminate()
                with pytest.raises(openai.APIError) as caught:
                    received.extend(stream)
            body = raw.rest()
            assert not raw.clean
        assert server.end() == 0
    assert caught.value.code == "server_shutdown"
    assert text_of(received) == PARTIAL
    assert json.loads(list(frames(body))[-1])["error"]["code"] == "server_shutdown"
    upstream.left()


@pytest.mark.promise("P5", "P11")
def test_sigterm_is_an_error_for_those_who_wait_for_the_first_byte(upstream: Upstream, tmp_path: Path):
    upstream.play(Disconnect())
    with (
        relay(tmp_path, upstream, "0") as server,
        Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as streaming,
        Exchange(f"{server.api}/chat/completions", "POST", question()) as whole,
    ):
        upstream.asked(2)
        assert server.end() == 0
        for exchange in (streaming, whole):
            assert exchange.status == 503
            assert exchange.json()["error"]["code"] == "server_shutdown"


@pytest.mark.promise("P5", "P11")
def test_a_stream_that_ends_within_the_drain_timeout_ends_well(upstream: Upstream, tmp_path: Path):
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, chunk(delta("stop"), DONE), END)
    with relay(tmp_path, upstream, "30") as server, openai.OpenAI(base_url=server.api, api_key="none") as client:
        with client.chat.completions.create(**question(), stream=True) as stream:
            received = [next(stream)]
            server.process.terminate()
            gate.open()
            received.extend(stream)
        assert server.end() == 0
    assert text_of(received) == PARTIAL
    assert finishes(received) == ["stop"]


def draining(server: Server) -> None:
    """Send SIGTERM and return once the server takes no more streams."""

    def refuses() -> bool:
        with Exchange(f"{server.url}/health/ready") as ready:
            return ready.status == 503

    assert not refuses()
    server.process.terminate()
    eventually(refuses)


@pytest.mark.promise("P11")
def test_while_it_drains_it_refuses_new_streams_and_serves_those_that_run(upstream: Upstream, tmp_path: Path):
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, chunk(delta("stop"), DONE), END)
    with relay(tmp_path, upstream, "30") as server:
        posted = f"{server.api}/chat/completions"
        with Exchange(posted, "POST", question(stream=True)) as first:
            first.until(lambda data: PARTIAL.encode() in data)
            draining(server)
            with Exchange(posted, "POST", question(stream=True)) as refused:
                assert refused.status == 503
                assert refused.json()["error"]["code"] == "overloaded"
                assert refused.headers["retry-after"] == "1"
            with Exchange(f"{server.url}/health") as alive:
                assert alive.status == 200
            url = f"{server.api}/streams/{first.headers['headrace-stream-id']}/events?format=openai.chat&skip=1"
            with Exchange(url, headers={"Accept": "text/event-stream"}) as back:
                assert back.status == 200
                gate.open()
                assert list(frames(back.rest())) == list(frames(first.rest()))[1:]
                assert first.clean
                assert back.clean
        assert server.process.wait(20) == 0


@pytest.mark.promise("P11")
def test_a_stream_that_nobody_reads_is_waited_for_too(upstream: Upstream, tmp_path: Path):
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, chunk(delta("stop"), DONE), END)
    with relay(tmp_path, upstream, "30") as server:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        with Exchange(f"{server.api}/streams", "POST", body) as made:
            assert made.status == 201
        upstream.asked()
        draining(server)
        assert not upstream.has_left()
        gate.open()
        assert server.process.wait(20) == 0


@pytest.mark.promise("P11")
def test_a_second_signal_cuts(upstream: Upstream, tmp_path: Path):
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with (
        relay(tmp_path, upstream, "600") as server,
        Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as reader,
    ):
        reader.until(lambda data: PARTIAL.encode() in data)
        draining(server)
        server.process.terminate()
        assert server.process.wait(20) == 0
        reader.rest()
        assert not reader.clean
    upstream.left()


@pytest.mark.promise("P3", "P5")
def test_a_process_that_is_killed_leaves_no_stream_that_looks_finished(upstream: Upstream, tmp_path: Path):
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with (
        relay(tmp_path, upstream, "0") as server,
        openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client,
        client.chat.completions.create(**question(), stream=True) as stream,
    ):
        next(stream)
        server.kill()
        with pytest.raises(openai.APIConnectionError):
            list(stream)


def replaying(directory: Path):
    """Two recorded models: one answers at once, the other goes silent for ten minutes after its first words."""
    fixtures = Path(__file__).parents[1] / "fixtures"
    lines = (fixtures / "water.ndjson").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for number, record in enumerate(records):
        record["at_ms"] = 0 if number < 4 else 600_000
    slow = directory / "slow.ndjson"
    slow.write_text("".join(json.dumps(record) + "\n" for record in records))
    config = directory / "headrace.yaml"
    config.write_text(
        "model_list:\n"
        f"  - {{model_name: instant, params: {{model: 'replay/{fixtures / 'text.sse'}', speed: instant}}}}\n"
        f"  - {{model_name: silent, params: {{model: 'replay/{slow}'}}}}\n"
    )
    return serving(directory, "--config", str(config), HEADRACE_KEEPALIVE_SECONDS="0.05")


def cut(server: Server, model: str, **headers: str) -> str:
    """Ask, read the first frame, vanish."""
    body = question(stream=True) | {"model": model}
    with Exchange(f"{server.api}/chat/completions", "POST", body, headers) as exchange:
        exchange.until(lambda data: b"\n\n" in data)
        stream_id = exchange.headers["headrace-stream-id"]
        exchange.reset()
    return stream_id


@pytest.mark.promise("P8")
def test_readers_that_vanish_leave_no_open_file_no_reader_and_no_running_stream(tmp_path: Path):
    with replaying(tmp_path) as server:
        cut(server, "instant")
        get(f"{server.api}/streams")
        eventually(lambda: not any(row["readers"] for row in get(f"{server.api}/streams?limit=100")["data"]))
        before = server.open_files
        leaving = {"Headrace-On-Disconnect": "cancel"}
        made = [cut(server, "instant") for _ in range(STREAMS // 2)]
        made += [cut(server, "silent", **leaving) for _ in range(STREAMS // 2)]
        eventually(lambda: get(f"{server.api}/streams?state=running")["data"] == [])
        eventually(lambda: server.open_files <= before)
        rows = [get(f"{server.api}/streams/{stream_id}") for stream_id in made]
        assert {row["readers"] for row in rows} == {0}
        assert {row["state"] for row in rows[: STREAMS // 2]} == {"finished"}
        assert {row["state"] for row in rows[STREAMS // 2 :]} == {"cancelled"}


@pytest.mark.promise("P2", "P8")
def test_many_readers_of_one_stream_come_and_go(tmp_path: Path):
    with replaying(tmp_path) as server:
        with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True) | {"model": "silent"}) as posted:
            posted.until(lambda data: b"\n\n" in data)
            url = f"{server.api}/streams/{posted.headers['headrace-stream-id']}"
            before = server.open_files
            for _ in range(STREAMS // AT_ONCE):
                readers = [Exchange(f"{url}/events?format={form}") for form in ("native", "text") * (AT_ONCE // 2)]
                for reader in readers:
                    reader.until(bool)
                assert get(url)["readers"] >= AT_ONCE
                for reader in readers:
                    reader.reset()
            eventually(lambda: get(url)["readers"] == 1)
            eventually(lambda: server.open_files <= before)
            assert get(url)["state"] == "running"
            with Exchange(url, "DELETE") as deleted:
                assert deleted.status == 204
            posted.rest()
            assert not posted.clean
        with Exchange(url) as gone:
            assert gone.status == 404
