"""One server of each kind for all tests of a run, and the event loop that `headrace serve` has."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.stores.redis.servers import VALKEY, Server, cluster, redis_server, serving


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(VALKEY, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(redis_server(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Server]]:
    with cluster(VALKEY, tmp_path_factory.mktemp("cluster")) as servers:
        yield servers
