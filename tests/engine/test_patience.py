import anyio
import pytest

from headrace.engine.patience import Signal
from tests.engine.rig import settle

pytestmark = pytest.mark.anyio


async def test_a_signal_lets_go_who_waits_and_who_comes_later() -> None:
    signal = Signal()
    gone: list[int] = []

    async def waiter(number: int) -> None:
        await signal.wait()
        gone.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(waiter, number)
            await settle()
            assert gone == []
            signal.set()
            signal.set()
            await settle()
            assert gone == [0, 1, 2]
            await signal.wait()


async def test_a_signal_that_nobody_waited_for_may_be_set() -> None:
    signal = Signal()
    signal.set()
    with anyio.fail_after(5):
        await signal.wait()
