"""A node that is killed: its streams end once, as failures, and nothing that a reader has seen is lacking afterwards.

`HEADRACE_TEST_LONG=1` kills nodes at hundreds of places instead of dozens.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.cluster.forms import FORMS, Form
from tests.e2e.cluster.nodes import Nodes, ask, node, reading, says
from tests.e2e.processes import Server
from tests.e2e.raw import Exchange
from tests.e2e.upstream import Upstream
from tests.servers.scripted import Disconnect, Request, Step, chunk, delta, head
from tests.stores.redis.servers import Server as Store

STREAMS = 24
ROUNDS = 10 if os.environ.get("HEADRACE_TEST_LONG") else 1
MOST_WORDS = 60
FLOWING = 20_000
"""Words of a stream that is not held: more than are read before the kill."""

rounds = pytest.mark.parametrize("seed", range(ROUNDS))


@pytest.fixture
def doomed(valkey: Store, upstream: Upstream, tmp_path: Path) -> Iterator[Server]:
    """A node that is killed; it holds its streams for two seconds at a time."""
    with node(tmp_path / "doomed", valkey.url, upstream, lease_seconds=2) as server:
        yield server


def words(count: int) -> list[str]:
    return [f"w{number} " for number in range(count)]


def as_many_as_asked(request: Request) -> Sequence[Step]:
    """The prompt says how many words; then nothing more."""
    count = int(request.json()["messages"][-1]["content"])
    return (head(), *(chunk(delta(content=word)) for word in words(count)), Disconnect())


def ends(reader: Exchange, form: Form) -> None:
    """A reader must see the failure, and no clean end where the form does not end failures so (P5)."""
    body = reader.rest()
    assert b"[DONE]" not in body and b"message_stop" not in body and b"response.completed" not in body
    assert (b"producer_lost" in body) == (form.format != "text")
    assert reader.clean == (form.format in ("native", "openai.responses"))


def records(server: Server, stream_id: str) -> list[dict[str, object]]:
    with reading(server, stream_id, accept="application/x-ndjson") as reader:
        body = reader.rest()
        assert reader.clean
        return [json.loads(line) for line in body.splitlines() if line]


def text_in(log: list[dict[str, object]]) -> str:
    found: list[dict[str, str]] = [event for record in log for event in record["events"]]  # type: ignore[union-attr]
    return "".join(event["text"] for event in found if event["type"] == "text.delta")


def ended_once(log: list[dict[str, object]]) -> None:
    """Dense numbers, and one terminal event, at the end (P3)."""
    assert [record["seq"] for record in log] == list(range(len(log)))
    found: list[dict[str, object]] = [event for record in log for event in record["events"]]  # type: ignore[union-attr]
    terminals = [event for event in found if event["type"] in ("finished", "failed", "cancelled")]
    assert terminals == found[-1:]
    assert (terminals[0]["type"], terminals[0]["code"]) == ("failed", "producer_lost")


@rounds
@pytest.mark.promise("P3", "P4", "P5", "P28")
def test_streams_of_a_killed_node_end_as_lost_and_have_all_that_was_seen(
    seed: int, nodes: Nodes, doomed: Server, upstream: Upstream
):
    upstream.choose(as_many_as_asked)
    draw = random.Random(seed)
    counts = [draw.randint(0, MOST_WORDS) for _ in range(STREAMS)]
    streams = [(ask(doomed, str(count))["id"], count, draw.choice(FORMS)) for count in counts]
    with ExitStack() as stack:
        readers = [
            [stack.enter_context(reading(server, stream_id, form.query, form.accept)) for server in (doomed, nodes.b)]
            for stream_id, _, form in streams
        ]
        for (_, count, _), pair in zip(streams, readers, strict=True):
            for reader in pair if count else ():
                reader.until(says(f"w{count - 1} "))
        doomed.kill()
        for (stream_id, count, form), (here, there) in zip(streams, readers, strict=True):
            here.rest()
            assert not here.clean
            ends(there, form)
            with reading(nodes.c, stream_id, form.query, form.accept) as late:
                if form.format != "text":  # whose reader at the end of a failed text gets the failure as the status
                    ends(late, form)
                whole = form.units(late.rest())
            assert form.units(there.rest()) == whole
            seen = form.units(here.rest())
            assert seen == whole[: len(seen)]
            log = records(nodes.c, stream_id)
            ended_once(log)
            assert text_in(log) == "".join(words(count))


@rounds
@pytest.mark.promise("P3", "P28")
def test_nothing_seen_is_lacking_when_a_node_dies_while_it_writes(
    seed: int, nodes: Nodes, doomed: Server, upstream: Upstream
):
    upstream.choose(as_many_as_asked)
    draw = random.Random(seed)
    streams = [ask(doomed, str(FLOWING))["id"] for _ in range(4)]
    with ExitStack() as stack:
        readers = [
            [stack.enter_context(reading(server, stream_id)) for server in (doomed, nodes.b)] for stream_id in streams
        ]
        # A reader of the doomed node that it has not answered yet would see no stream at all.
        assert all(reader.status == 200 for pair in readers for reader in pair)
        readers[0][1].until(says(f"w{draw.randint(1, FLOWING // 20)} "))
        doomed.kill()
        for stream_id, pair in zip(streams, readers, strict=True):
            here, there = (list(FORMS[0].units(reader.rest())) for reader in pair)
            log = records(nodes.c, stream_id)
            ended_once(log)
            told = text_in(log)
            assert told == "".join(words(told.count(" ")))
            assert len(there) == len(log) > len(here)
            with reading(nodes.c, stream_id) as late:
                whole = late.frames()
            assert there == whole
            assert here == whole[: len(here)]
