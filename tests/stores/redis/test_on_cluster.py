from collections.abc import AsyncIterator, Sequence

import pytest

from tests.stores.contract import *  # noqa: F403 - the tests that every store passes
from tests.stores.contract import Rig
from tests.stores.redis.rigs import rig_on
from tests.stores.redis.servers import Server


@pytest.fixture
async def rig(anyio_backend: str, shards: Sequence[Server]) -> AsyncIterator[Rig]:
    async with rig_on(shards) as rig:
        yield rig
