"""A store that does nothing at once keeps the contract as well: what it may refuse to do changes nothing else."""

import pytest

from tests.stores.contract import *  # noqa: F403 - the tests that every store passes
from tests.stores.contract import RETENTION, STREAM_LIMIT, Clock, Rig
from tests.stores.waiting import WaitingStore


@pytest.fixture
def rig() -> Rig:
    clock = Clock()
    return Rig(WaitingStore(now=clock, retention=RETENTION, max_stream_bytes=STREAM_LIMIT), clock.advance)
