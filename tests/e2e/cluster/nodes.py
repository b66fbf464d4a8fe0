"""Servers that share a store, and what is asked of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.processes import Server, eventually, serving
from tests.e2e.raw import Exchange
from tests.e2e.upstream import UPSTREAM_KEY, Upstream

SSE = "text/event-stream"


class Nodes(NamedTuple):
    """Three of one store."""

    a: Server
    b: Server
    c: Server


@contextlib.contextmanager
def node(directory: Path, store: str, upstream: Upstream, **settings: object) -> Iterator[Server]:
    """One server, with a heartbeat every 50 ms; settings as the configuration names them."""
    directory.mkdir(parents=True, exist_ok=True)
    extra = {f"HEADRACE_{name.upper()}": str(value) for name, value in {"keepalive_seconds": 0.05, **settings}.items()}
    address = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": UPSTREAM_KEY, "REDIS_URL": store}
    with serving(directory, HEADRACE_RETRIES="0", **address, **extra) as server:
        yield server


def ask(server: Server, prompt: str = "?", **fields: Any) -> dict[str, Any]:
    """Have a stream produced that needs no reader; its id and the rest of what is answered."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": prompt}], **fields}
    with Exchange(f"{server.api}/streams", "POST", body) as created:
        assert created.status == 201, created.rest()
        return created.json()


def reading(server: Server, stream_id: str, query: str = "", accept: str = SSE, **headers: str) -> Exchange:
    """A reader of a stream, in the native shape if the query has no `format`."""
    url = f"{server.api}/streams/{stream_id}/events" + (f"?{query}" if query else "")
    return Exchange(url, headers={"Accept": accept, **{name.replace("_", "-"): text for name, text in headers.items()}})


def says(text: str) -> Callable[[bytes], bool]:
    """For `Exchange.until`: whether a body has come to this text."""
    return lambda body: text.encode() in body


def state(server: Server, stream_id: str) -> Any:
    """The state of a stream; None where there is no such stream."""
    with Exchange(f"{server.api}/streams/{stream_id}") as looked:
        return looked.json()["state"] if looked.status == 200 else None


def gone(server: Server, stream_id: str) -> None:
    """Return once a server does not have the stream any more."""
    eventually(lambda: state(server, stream_id) is None)
