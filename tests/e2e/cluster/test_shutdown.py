"""A node that is stopped for good: its streams are read on elsewhere, however they end."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e.cluster.nodes import Nodes, ask, node, reading, says, state
from tests.e2e.processes import PATIENCE_S, Server, eventually
from tests.e2e.raw import Exchange, events
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Disconnect, Request, Step, chunk, delta, head
from tests.stores.redis.servers import Server as Store

WORDS = ("The ", "river ", "öffnet ", "sich.")


@pytest.fixture
def leaving(valkey: Store, upstream: Upstream, tmp_path: Path) -> Iterator[Server]:
    """A node that waits for its streams when it is stopped, until it is told a second time."""
    with node(tmp_path / "leaving", valkey.url, upstream, drain_timeout=60) as server:
        yield server


def drains(server: Server) -> bool:
    with Exchange(f"{server.url}/health/ready") as looked:
        return looked.status == 503


@pytest.mark.promise("P3", "P4", "P11")
def test_readers_of_a_node_that_stops_read_on_at_another(nodes: Nodes, leaving: Server, upstream: Upstream):
    gate = upstream.gate()
    first, second = ([chunk(delta(content=word)) for word in part] for part in (WORDS[:2], WORDS[2:]))
    scripts: dict[str, Sequence[Step]] = {
        "in time": (head(), *first, gate.wait, *second, chunk(delta("stop"), DONE), END),
        "too slow": (head(), *first, Disconnect()),
    }

    def by_prompt(request: Request) -> Sequence[Step]:
        return scripts[request.json()["messages"][-1]["content"]]

    upstream.choose(by_prompt)
    in_time, too_slow = (ask(leaving, prompt)["id"] for prompt in scripts)
    with reading(leaving, in_time) as cut, reading(nodes.b, in_time) as live, reading(nodes.b, too_slow) as ended:
        received = list(events(cut.until(says(WORDS[1]))))
        cut.reset()
        leaving.process.send_signal(signal.SIGTERM)
        eventually(lambda: drains(leaving))
        with reading(nodes.c, in_time, Last_Event_ID=received[-1].id) as resumed:
            gate.open()
            rest = resumed.frames()
            assert resumed.clean
        whole = live.frames()
        assert [event.data for event in received] + rest == whole
        leaving.process.send_signal(signal.SIGTERM)
        assert b'"server_shutdown"' in ended.frames()[-1]
        assert ended.clean
    assert leaving.process.wait(PATIENCE_S) == 0
    assert [state(nodes.c, stream_id) for stream_id in (in_time, too_slow)] == ["finished", "failed"]
