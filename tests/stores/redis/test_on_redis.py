from collections.abc import AsyncIterator

import pytest

from tests.stores.contract import *  # noqa: F403 - the tests that every store passes
from tests.stores.contract import Rig
from tests.stores.redis.rigs import rig_on
from tests.stores.redis.servers import Server


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Python's own event loop, which is what there is where uvloop is not."""
    return "asyncio"


@pytest.fixture
async def rig(anyio_backend: str, redis: Server) -> AsyncIterator[Rig]:
    async with rig_on([redis]) as rig:
        yield rig
