"""Three servers with one Valkey, for all tests that break none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.cluster.nodes import Nodes, node
from tests.e2e.upstream import Upstream
from tests.stores.redis.servers import VALKEY, serving
from tests.stores.redis.servers import Server as Store


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with serving(VALKEY, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def nodes(valkey: Store, scripted_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(
            *(stack.enter_context(node(tmp_path_factory.mktemp(name), valkey.url, scripted_upstream)) for name in "abc")
        )
