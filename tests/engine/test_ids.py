"""Stream ids: what nobody can guess."""

import anyio
import pytest

from tests.engine.rig import OWNER, node

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P31")]

STREAMS = 300


async def test_every_digit_of_an_id_is_random() -> None:
    with anyio.fail_after(20):
        async with node() as rig:
            ids: list[str] = []
            for _ in range(STREAMS):
                started = await rig.start()
                started.subscription.close()
                await rig.engine.cancel(started.stream_id, OWNER)
                ids.append(started.stream_id)
    assert len(set(ids)) == STREAMS
    assert all(len(stream_id) == 32 for stream_id in ids)
    # 300 draws out of 16 digits show fewer than 8 of them once in 10^80 positions.
    assert all(len({stream_id[place] for stream_id in ids}) >= 8 for place in range(32))
