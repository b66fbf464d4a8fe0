"""Real processes on loopback. Each server lives as long as its fixture; its end is checked too: see `serving`."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.e2e import upstream as scripted
from tests.e2e.node_client import NodeClient, ran
from tests.e2e.processes import Server, llamacpp, serving
from tests.e2e.upstream import UPSTREAM_KEY, Upstream


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace as somebody gets it who starts it without anything."""
    with serving(tmp_path_factory.mktemp("embedded")) as server:
        yield server


@pytest.fixture(scope="session")
def scripted_upstream() -> Iterator[Upstream]:
    with scripted.listening() as server:
        yield server


@pytest.fixture
def upstream(scripted_upstream: Upstream) -> Upstream:
    """The model server behind `relaying`, with nothing asked yet."""
    scripted_upstream.play()
    return scripted_upstream


@pytest.fixture(scope="session")
def relaying(scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace in front of the scripted model server, with a heartbeat every 50 ms."""
    extra = {
        "OPENAI_BASE_URL": scripted_upstream.url,
        "OPENAI_API_KEY": UPSTREAM_KEY,
        "HEADRACE_KEEPALIVE_SECONDS": "0.05",
        "HEADRACE_RETRIES": "0",
    }
    with serving(tmp_path_factory.mktemp("relaying"), **extra) as server:
        yield server


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """The address of llama.cpp's own server; its key is `UPSTREAM_KEY`."""
    with llamacpp(UPSTREAM_KEY, slots=2) as url:
        yield url


@pytest.fixture
def client(embedded: Server) -> Iterator[openai.OpenAI]:
    """The official client of the server with the embedded model."""
    with openai.OpenAI(base_url=embedded.api, api_key="none") as client:
        yield client


@pytest.fixture
def relayed(relaying: Server) -> Iterator[openai.OpenAI]:
    """The official client of the server with the scripted upstream; it does not try again, so it is asked once."""
    with openai.OpenAI(base_url=relaying.api, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def node_client() -> NodeClient:
    """The official clients for Node, one process for each case."""
    return ran
