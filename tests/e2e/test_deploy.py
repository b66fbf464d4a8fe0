"""What is in deploy/ as it runs: nginx before two nodes that share a store, and one of them that goes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.files import alerts, metrics_in
from tests.e2e.deployment import ACCESS, Deployment, deployment, gauge, metrics, status
from tests.e2e.processes import eventually
from tests.e2e.raw import Exchange, events, frames
from tests.e2e.upstream import Gate, Upstream
from tests.servers.scripted import DONE, END, Disconnect, chunk, delta, head

PARTIAL = "The river"
WORDS = [chunk(delta(content=f" {number}")) for number in range(30)]


@pytest.fixture(scope="module")
def running(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("deployment"), scripted_upstream.url) as running:
        yield running


@pytest.fixture
def stopping(upstream: Upstream, tmp_path: Path) -> Iterator[Deployment]:
    """One whose nodes may be stopped."""
    with deployment(tmp_path, upstream.url) as stopping:
        yield stopping


def held(upstream: Upstream) -> Gate:
    """Answer with two words, and with the rest when the gate opens."""
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=PARTIAL)), gate.wait, *WORDS, chunk(delta("stop"), DONE), END)
    return gate


def begun(exchange: Exchange) -> str:
    """Wait for the first words; the stream's id."""
    exchange.until(lambda data: PARTIAL.encode() in data)
    return exchange.headers["headrace-stream-id"]


@pytest.mark.promise("P2", "P9", "P14")
def test_words_arrive_at_once_on_whichever_node_a_reader_is(running: Deployment, upstream: Upstream) -> None:
    gate = held(upstream)
    with running.ask() as posted:
        stream_id = begun(posted)
        with ExitStack() as stack:
            readers = [stack.enter_context(running.read(stream_id)) for _ in range(3)]
            for reader in readers:
                begun(reader)
            assert all(gauge(node, "headrace_stream_readers") for node in running.nodes)
            gate.open()
            whole = list(frames(posted.rest()))
            assert len(whole) > len(WORDS)
            assert [list(frames(reader.rest())) for reader in readers] == [whole] * 3
            assert posted.clean and all(reader.clean for reader in readers)


@pytest.mark.promise("P4")
def test_a_reader_that_was_cut_goes_on_after_its_last_event_id(running: Deployment, upstream: Upstream) -> None:
    held(upstream).open()
    with running.ask() as posted:
        stream_id = begun(posted)
        whole = list(events(posted.rest()))
    with running.read(stream_id) as again:
        whole = list(events(again.rest()))
    for cut in (1, len(whole) // 2, len(whole) - 1):
        with running.read(stream_id, Last_Event_ID=whole[cut - 1].id) as rest:
            assert list(events(rest.rest())) == whole[cut:]


@pytest.mark.promise("P7")
def test_a_stop_from_outside_reaches_the_model(running: Deployment, upstream: Upstream) -> None:
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with running.ask() as posted:
        stream_id = begun(posted)
        with running.plain(f"/v1/streams/{stream_id}/cancel", "POST") as stopped:
            assert stopped.json()["state"] == "cancelled"
        upstream.left()
        assert b"cancelled" in posted.rest()
        assert not posted.clean


def test_a_request_has_one_id_for_nginx_and_headrace_and_the_caller(running: Deployment, upstream: Upstream) -> None:
    held(upstream).open()
    with running.ask(stream=False) as named, running.ask(stream=False, X_Request_Id="mine") as brought:
        assert named.status == brought.status == 200
        ids = {named.headers["x-request-id"], brought.headers["x-request-id"]}
    assert "mine" in ids
    eventually(lambda: ids <= {line["request_id"] for node in running.nodes for line in node.lines})


def test_numbers_are_not_for_the_outside(running: Deployment) -> None:
    with running.plain("/metrics") as asked:
        assert asked.status == 404


def test_every_alert_asks_for_numbers_that_a_node_has(running: Deployment, upstream: Upstream) -> None:
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with running.ask() as posted, running.plain(f"/v1/streams/{begun(posted)}/cancel", "POST") as stopped:
        assert stopped.status == 200  # a series is there once something like it has happened
    asked = set[str]().union(*(metrics_in(rule["expr"]) for rule in alerts() if rule["group"] == "headrace"))

    def all_there() -> bool:
        return asked <= {name for node in running.nodes for name, _ in metrics(node)}

    eventually(all_there)


@pytest.mark.promise("P4", "P11")
def test_a_node_that_stops_loses_no_stream_and_no_request(stopping: Deployment, upstream: Upstream) -> None:
    gate = held(upstream)
    with stopping.ask() as posted, ExitStack() as stack:
        stream_id = begun(posted)
        here, there = stopping.parted()
        readers = [stack.enter_context(stopping.read(stream_id)) for _ in range(2)]
        for reader in readers:
            begun(reader)
        here.process.send_signal(signal.SIGTERM)
        eventually(lambda: status(here, "/health/ready") == 503)
        assert status(there, "/health/ready") == status(here, "/health") == 200

        held(upstream).open()
        no_request_fails(stopping, upstream)
        with stack.enter_context(stopping.read(stream_id)) as late:
            begun(late)
            gate.open()
            whole = list(frames(posted.rest()))
            assert [list(frames(reader.rest())) for reader in (*readers, late)] == [whole] * 3
            assert all(reader.clean for reader in (posted, *readers, late))
    assert here.process.wait(40) == 0
    no_request_fails(stopping, upstream)
    with stopping.read(stream_id) as again:
        body = again.rest()
        assert list(frames(body)) == whole and again.clean
    middle = list(events(body))[len(whole) // 2]
    with stopping.read(stream_id, Last_Event_ID=middle.id) as rest:
        assert list(frames(rest.rest())) == whole[len(whole) // 2 + 1 :]


def no_request_fails(stopping: Deployment, upstream: Upstream) -> None:
    """Requests of every kind, with a key and without, streamed and not."""
    for number in range(4):
        with (
            stopping.ask() as streamed,
            stopping.ask(stream=False) as whole,
            stopping.ask(stream=False, Idempotency_Key=f"key-{number}-{len(upstream.requests)}") as keyed,
            stopping.plain("/health/ready") as ready,
        ):
            assert (streamed.status, whole.status, keyed.status, ready.status) == (200, 200, 200, 200)
            assert streamed.rest().endswith(b"data: [DONE]\n\n")


@pytest.mark.promise("P4", "P5", "P11")
def test_a_reader_whose_node_goes_resumes_on_the_one_that_produces(stopping: Deployment, upstream: Upstream) -> None:
    gate = held(upstream)
    with stopping.ask() as posted:
        stream_id = begun(posted)
        _, here = stopping.parted()
        url = f"{here.api}/streams/{stream_id}/events?format=openai.chat"
        with Exchange(url, headers={**ACCESS, "Accept": "text/event-stream"}) as reader:
            begun(reader)
            here.process.send_signal(signal.SIGTERM)
            eventually(lambda: status(here, "/health/ready") == 503)
            assert here.end() == 0  # the second signal: it waits for its readers no longer
            seen = list(events(reader.rest()))
            assert not reader.clean
        with stopping.read(stream_id, Last_Event_ID=seen[-1].id) as resumed:
            gate.open()
            rest = list(events(resumed.rest()))
            assert resumed.clean
        assert [event.data for event in (*seen, *rest)] == list(frames(posted.rest()))


@pytest.mark.promise("P3", "P5", "P11")
def test_the_end_of_a_stream_that_was_cut_with_its_node_is_read_on_the_other(
    stopping: Deployment, upstream: Upstream
) -> None:
    upstream.play(head(), chunk(delta(content=PARTIAL)), Disconnect())
    with stopping.ask() as posted:
        stream_id = begun(posted)
        here, _ = stopping.parted()
        with stopping.read(stream_id) as reader:
            begun(reader)
            here.process.send_signal(signal.SIGTERM)
            eventually(lambda: status(here, "/health/ready") == 503)
            assert here.end() == 0  # the second signal: its time is over
            for exchange in (posted, reader):
                assert b'"code":"server_shutdown"' in exchange.rest()
                assert not exchange.clean
    with stopping.read(stream_id, "format=native") as late:
        last = list(frames(late.rest()))[-1]
        assert b'"server_shutdown"' in last and late.clean
    with stopping.plain(f"/v1/streams/{stream_id}") as looked:
        assert looked.json()["text"] == PARTIAL


@pytest.mark.promise("P10")
def test_a_question_without_a_key_is_asked_once_when_its_node_dies(stopping: Deployment, upstream: Upstream) -> None:
    upstream.play(Disconnect())
    with stopping.ask(stream=False) as posted:
        upstream.asked()
        here, _ = stopping.parted()
        here.kill()
        assert posted.status == 502
    assert len(upstream.requests) == 1


@pytest.mark.promise("P10")
def test_a_question_with_a_key_joins_its_stream_on_the_other_node_when_its_node_dies(
    stopping: Deployment, upstream: Upstream
) -> None:
    upstream.play(Disconnect())
    with stopping.ask(stream=False, Idempotency_Key="asked-once"):
        upstream.asked()
        here, there = stopping.parted()
        here.kill()
        eventually(lambda: gauge(there, "headrace_stream_readers") == 1)
    assert len(upstream.requests) == 1
