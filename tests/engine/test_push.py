"""A provider that pushes: what it hands on is in the log in the same turn, until somebody says stop."""

import anyio
import pytest

from headrace.events import Cancelled, TextDelta
from tests.engine.rig import OPENING, PushingProvider, node, read_all, relays, settle, terminals, words

pytestmark = pytest.mark.anyio


@pytest.mark.promise("P28")
async def test_what_is_pushed_is_in_the_log_in_the_same_turn() -> None:
    provider = PushingProvider()
    with anyio.fail_after(5):
        async with node(provider=provider) as rig:
            started = await rig.start()
            await settle()
            relay = relays(rig.engine)[started.stream_id]
            for number, batch in enumerate(([OPENING], [], words("a", "b"))):
                assert provider.take(batch) is None
                assert relay.records == (2, 2, 4)[number]
            assert [record.seq for record in await rig.records(started.stream_id)] == [0, 1, 2, 3]
            rig.call.finish()
            await read_all(started.subscription)


@pytest.mark.promise("P3", "P7")
async def test_nothing_is_appended_after_a_stop_though_the_upstream_says_more_before_its_task_runs() -> None:
    provider = PushingProvider()
    with anyio.fail_after(5):
        async with node(provider=provider) as rig:
            started = await rig.start()
            await settle()
            relay = relays(rig.engine)[started.stream_id]
            provider.take([OPENING, *words("early")])
            relay.cancel("client")
            assert provider.take(words("late")) is None
            await settle()
            log = await read_all(started.subscription)
        assert [event.text for record in log for event in record.events if isinstance(event, TextDelta)] == ["early"]
        assert terminals(log) == [Cancelled("client")]
        assert rig.history == ["asked", "closed"]
