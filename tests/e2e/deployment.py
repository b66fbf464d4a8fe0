"""What deploy/compose.yaml describes, as processes of this machine: two nodes, their store, and nginx in front."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.files import DEPLOY, compose
from tests.e2e.asking import question
from tests.e2e.nginx import Front, deployed
from tests.e2e.processes import Server, serving
from tests.e2e.raw import Exchange
from tests.stores.redis.servers import VALKEY, free_port
from tests.stores.redis.servers import serving as redis_serving
from tests.telemetry.exposition import Samples, samples_of, value

KEY = "the-key-of-the-app"
ACCESS = {"Authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Deployment:
    """All of it; callers know the front only."""

    front: Front
    nodes: tuple[Server, Server]

    def ask(self, stream: bool = True, **headers: str) -> Exchange:
        """A question to the front; in names of headers `_` stands for `-`."""
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        return Exchange(f"{self.front.api}/chat/completions", "POST", question(stream=stream), {**ACCESS, **fields})

    def read(self, stream_id: str, query: str = "format=openai.chat", **headers: str) -> Exchange:
        """A stream from the front, as SSE."""
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        url = f"{self.front.api}/streams/{stream_id}/events?{query}"
        return Exchange(url, headers={**ACCESS, "Accept": "text/event-stream", **fields})

    def plain(self, path: str, method: str = "GET") -> Exchange:
        """Any other request to the front."""
        return Exchange(f"{self.front.url}{path}", method, headers=ACCESS)

    def parted(self) -> tuple[Server, Server]:
        """The node on which the only stream runs, and the other one."""
        here, there = self.nodes
        return (here, there) if gauge(here, "headrace_streams_active") else (there, here)


def metrics(node: Server) -> Samples:
    """The numbers of one node."""
    with Exchange(f"{node.url}/metrics", headers=ACCESS) as asked:
        text = asked.rest().decode()
        assert asked.status == 200, text
        return samples_of(text_string_to_metric_families(text))


def gauge(node: Server, name: str) -> float:
    """One of them."""
    return value(metrics(node), name)


def status(node: Server, path: str) -> int:
    """Of the answer to a GET that needs no key."""
    with Exchange(f"{node.url}{path}") as asked:
        return asked.status


@contextlib.contextmanager
def deployment(directory: Path, upstream: str) -> Iterator[Deployment]:
    """Everything with the options, the files and the environment of compose.yaml; only addresses are others."""
    services = compose({"REDIS_PASSWORD": "a-password"})["services"]
    port = free_port()
    program, *options = services["valkey"]["command"]
    assert program == "valkey-server"
    with contextlib.ExitStack() as stack:
        stack.enter_context(redis_serving(VALKEY, directory / "valkey", *options, port=port))
        nodes = [
            stack.enter_context(_node(directory / name, services[name], f"127.0.0.1:{port}", upstream))
            for name in ("headrace-1", "headrace-2")
        ]
        addresses = [node.url.removeprefix("http://") for node in nodes]
        front = stack.enter_context(deployed(directory / "nginx", *addresses))
        yield Deployment(front, (nodes[0], nodes[1]))


@contextlib.contextmanager
def _node(directory: Path, service: Mapping[str, Any], store: str, upstream: str) -> Iterator[Server]:
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    program, *options = (str(DEPLOY / mounted[word]) if word in mounted else word for word in service["command"])
    assert program == "serve"
    environment = {
        **{name: text.replace("valkey:6379", store) for name, text in service["environment"].items()},
        "HEADRACE_API_KEYS": f"app={KEY}",
        "OPENAI_API_KEY": "sk-upstream",
        "OPENAI_BASE_URL": upstream,
        "HEADRACE_DRAIN_TIMEOUT": "",  # not that of the tests, but the file's
    }
    directory.mkdir()
    with serving(directory, *options, **environment) as server:
        yield server
