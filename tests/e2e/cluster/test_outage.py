"""A store that goes away in the middle of streams, and comes back: or does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.e2e.cluster.breakable import FAULTS, Breakable, Fault
from tests.e2e.cluster.forms import FORMS, Form
from tests.e2e.cluster.nodes import ask, node, reading, says, state
from tests.e2e.processes import Server, eventually
from tests.e2e.raw import Exchange, heartbeats
from tests.e2e.upstream import Gate, Upstream
from tests.servers.scripted import DONE, END, Disconnect, chat, chunk, delta, head
from tests.stores.redis.servers import VALKEY, cluster

BEFORE, MEANWHILE, AFTER = (tuple(f"{part}{number} " for number in range(40)) for part in ("before", "while", "after"))
SSE_FORMS = FORMS[:3]
"""Those whose heartbeat is no event."""
LOOKS = 3
"""Heartbeats that show that nothing else came."""
QUESTION = {"model": "scripted", "messages": [{"role": "user", "content": "?"}]}
OF_TWO_LEASES = 40
"""Heartbeats in two seconds, at most."""

Pair = tuple[Server, Server]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    store = Breakable(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


def pair_of(
    stack: ExitStack, store: Breakable, upstream: Upstream, folders: pytest.TempPathFactory, **settings: object
):
    here, there = (stack.enter_context(node(folders.mktemp("node"), store.url, upstream, **settings)) for _ in "ab")
    return here, there


@pytest.fixture(scope="module")
def pair(store: Breakable, scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    here, there = (tmp_path_factory.mktemp(name) for name in ("here", "there"))
    with node(here, store.url, scripted_upstream) as a, node(there, store.url, scripted_upstream) as b:
        yield a, b


@pytest.fixture
def impatient(store: Breakable, upstream: Upstream, tmp_path: Path) -> Iterator[Pair]:
    """They wait a second for the store."""
    with (
        node(tmp_path / "here", store.url, upstream, store_outage_timeout=1) as a,
        node(tmp_path / "there", store.url, upstream, store_outage_timeout=1) as b,
    ):
        yield a, b


@pytest.fixture
def brief(store: Breakable, upstream: Upstream, tmp_path: Path) -> Iterator[Pair]:
    """They hold their streams for a second at a time."""
    with (
        node(tmp_path / "here", store.url, upstream, lease_seconds=1) as a,
        node(tmp_path / "there", store.url, upstream, lease_seconds=1) as b,
    ):
        yield a, b


def is_ready(server: Server, status: int) -> bool:
    """Whether the server says so, or that it is not, because of its store."""
    with Exchange(f"{server.url}/health/ready") as looked:
        said = looked.json()["status"]
        assert (looked.status, said) in ((200, "ready"), (503, "store_unavailable"))
        return looked.status == status


@contextmanager
def a_stream_in_three_parts(pair: Pair, upstream: Upstream) -> Iterator[tuple[list[tuple[Form, Exchange]], list[Gate]]]:
    """Read on both nodes; a gate is before the second part, which the test opens, and one before the third.

    Once the store is there again each reader must get the whole, and the upstream must have been asked once.
    """
    gates = [upstream.gate(), upstream.gate()]
    first, second, third = ([chunk(delta(content=word)) for word in part] for part in (BEFORE, MEANWHILE, AFTER))
    ending = (chunk(delta("stop"), DONE), END)
    upstream.play(head(), *first, gates[0].wait, *second, gates[1].wait, *third, *ending)
    stream_id = ask(pair[0])["id"]
    with ExitStack() as stack:
        readers = [
            (form, stack.enter_context(reading(server, stream_id, form.query))) for server in pair for form in SSE_FORMS
        ]
        for _, reader in readers:
            reader.until(says(BEFORE[-1]))
        yield readers, gates
        for server in pair:
            eventually(partial(is_ready, server, 200))
        gates[1].open()
        for form, reader in readers:
            received = form.units(reader.rest())
            assert reader.clean
            with reading(pair[1], stream_id, form.query) as late:
                assert received == form.units(late.rest())
                assert late.clean
    with reading(pair[1], stream_id, "format=text", "text/plain") as text:
        assert text.rest().decode() == "".join((*BEFORE, *MEANWHILE, *AFTER))
    assert len(upstream.requests) == 1


def next_beats(reader: Exchange, count: int = LOOKS) -> bytes:
    """What a reader has received after so many more heartbeats that anything else would have come."""
    so_far = heartbeats(reader.until(lambda _: True))
    return reader.until(lambda body: heartbeats(body) >= so_far + count)


def taken(server: Server) -> str | None:
    """The id of a new stream, if the server takes one now."""
    with Exchange(f"{server.api}/streams", "POST", QUESTION) as posted:
        assert posted.status in (201, 503)
        return posted.json()["id"] if posted.status == 201 else None


def refuses(server: Server) -> bool:
    """Whether a new request is refused since there is no store; it is told so in the shape's own form."""
    with Exchange(f"{server.api}/chat/completions", "POST", QUESTION) as posted:
        return (posted.status, posted.json()["error"]["code"]) == (503, "store_unavailable")


@pytest.mark.promise("P3", "P4", "P28")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_stream_goes_on_after_its_store_was_away_and_every_reader_gets_the_whole(
    fault: Fault, store: Breakable, pair: Pair, upstream: Upstream
):
    with a_stream_in_three_parts(pair, upstream) as (readers, gates), fault(store):
        gates[0].open()
        for server in pair:
            eventually(partial(is_ready, server, 503))
            eventually(partial(refuses, server))
        for _, reader in readers:
            assert not says(MEANWHILE[0])(next_beats(reader))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("fault", (Breakable.killed, Breakable.paused), ids=lambda fault: fault.__name__)
def test_an_outage_that_outlasts_the_lease_takes_no_stream_from_its_producer(
    fault: Fault, store: Breakable, brief: Pair, upstream: Upstream
):
    with a_stream_in_three_parts(brief, upstream) as (readers, gates), fault(store):
        gates[0].open()
        for _, reader in readers:
            assert not says(MEANWHILE[0])(next_beats(reader, OF_TWO_LEASES))


@pytest.mark.promise("P28")
def test_a_new_primary_that_lacks_what_readers_have_seen_is_given_it_again(
    store: Breakable, pair: Pair, upstream: Upstream
):
    with a_stream_in_three_parts(pair, upstream) as (readers, gates):

        def seen_and_not_replicated() -> None:
            gates[0].open()
            for _, reader in readers:
                reader.until(says(MEANWHILE[-1]))

        with store.failed_over(seen_and_not_replicated):
            for server in pair:
                eventually(partial(is_ready, server, 503))


@pytest.mark.promise("P3", "P5")
def test_a_store_that_stays_away_ends_the_upstream_and_lets_the_readers_go(
    store: Breakable, impatient: Pair, upstream: Upstream
):
    gate = upstream.gate()
    before, meanwhile = ([chunk(delta(content=word)) for word in part] for part in (BEFORE, MEANWHILE))
    upstream.play(head(), *before, gate.wait, *meanwhile, Disconnect())
    stream_id = ask(impatient[0])["id"]
    with ExitStack() as stack:
        readers = [
            stack.enter_context(reading(server, stream_id, form.query)) for server in impatient for form in SSE_FORMS
        ]
        for reader in readers:
            reader.until(says(BEFORE[-1]))
        with store.killed():
            gate.open()
            upstream.left()
            for reader in readers:
                body = reader.rest()
                assert not reader.clean
                assert b"[DONE]" not in body and b"response.completed" not in body
                assert MEANWHILE[0].encode() not in body
    eventually(lambda: state(impatient[1], stream_id) == "failed")


@pytest.mark.promise("P3", "P19")
def test_a_full_store_refuses_new_streams_and_fails_those_that_run(store: Breakable, pair: Pair, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(head(), chunk(delta(content=BEFORE[0])), gate.wait, chunk(delta(content=AFTER[0])), Disconnect())
    stream_id = ask(pair[0])["id"]
    with reading(pair[1], stream_id) as reader:
        reader.until(says(BEFORE[0]))
        store.server.ask("CONFIG", "SET", "maxmemory", 1)
        gate.open()
        assert b'"log_full"' in reader.frames()[-1]
        assert reader.clean
        for server in pair:
            with Exchange(f"{server.api}/chat/completions", "POST", QUESTION) as refused:
                error = refused.json()["error"]
                assert (refused.status, error["code"]) == (503, "overloaded")
                assert error["message"] == "The store of the streams is full."
    store.server.ask("CONFIG", "SET", "maxmemory", 0)
    upstream.play(head(), chunk(chat("Again.")), END)
    again = ask(pair[0])["id"]
    with reading(pair[1], again, "format=text", "text/plain") as text:
        assert text.rest() == b"Again."


@pytest.mark.promise("P3", "P7")
def test_a_cluster_with_one_server_away_serves_new_streams_and_those_of_the_others(upstream: Upstream, tmp_path: Path):
    count = 12
    ends = upstream.gate()
    steps = (head(), chunk(delta(content=BEFORE[0])), ends.wait, chunk(delta("stop"), DONE), END)
    upstream.play(*steps)
    with cluster(VALKEY, tmp_path / "store") as shards, ExitStack() as stack:
        for shard in shards:
            shard.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        settings = {"store_outage_timeout": 1}
        here, there = (stack.enter_context(node(tmp_path / each, shards[0].url, upstream, **settings)) for each in "ab")
        old = [ask(here)["id"] for _ in range(count)]
        for stream_id in old:
            with reading(there, stream_id) as reader:
                reader.until(says(BEFORE[0]))
        os.kill(shards[2].pid, signal.SIGKILL)
        # Until both nodes have seen it, streams are refused that would be kept there.
        new = list(islice(filter(None, map(taken, cycle((here, there)))), 3 * count))[-count:]
        assert is_ready(here, 200) and is_ready(there, 200)
        stopped = new.pop()
        with Exchange(f"{there.api}/streams/{stopped}", "DELETE") as asked:
            assert asked.status in (200, 204)
        ends.open()
        for stream_id in new:
            with reading(there, stream_id, "format=text", "text/plain") as text:
                assert text.rest().decode() == BEFORE[0]
                assert text.clean
        eventually(lambda: {state(there, each) for each in old} <= {"finished", None})
        states = [state(there, each) for each in old]
        assert "finished" in states and None in states
        assert here.output.count("WARNING") < 10  # what stays as it is is said once
        here.kill()  # it would wait for the store to write the ends of the others
