"""Workers of one server that tell each other their numbers, over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from headrace.telemetry.siblings import Siblings

pytestmark = pytest.mark.anyio


def registry(amount: int, label: str = "a") -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("streams", "Streams.", ["model"], registry=made).labels(label).inc(amount)
    return made


@asynccontextmanager
async def answering(siblings: Siblings, own: CollectorRegistry, directory: Path) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(siblings.answer, own)
        with anyio.fail_after(5):
            while True:
                with contextlib.suppress(OSError):
                    async with await anyio.connect_unix(directory / f"worker-{siblings.number}.sock"):
                        break
                await anyio.lowlevel.checkpoint()
        yield
        tasks.cancel_scope.cancel()


def lines(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if not line.startswith("#") and "_created" not in line]


async def test_the_numbers_of_all_are_told_apart_by_a_label(tmp_path: Path) -> None:
    here, there = Siblings(tmp_path, 0, 2), Siblings(tmp_path, 1, 2)
    async with answering(there, registry(5, 'b"\n'), tmp_path):
        text = generate_latest(await here.collect(registry(3)))
    assert lines(text) == [
        'streams_total{model="a",worker="0"} 3.0',
        'streams_total{model="b\\"\\n",worker="1"} 5.0',
        "headrace_workers 2.0",
        "headrace_workers_answered 2.0",
    ]
    assert text.count(b"# TYPE streams_total counter") == 1


async def test_a_worker_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    text = generate_latest(await Siblings(tmp_path, 1, 3).collect(registry(1)))
    assert lines(text)[-2:] == ["headrace_workers 3.0", "headrace_workers_answered 1.0"]


@pytest.mark.parametrize("said", [b"", b"\x91"])
async def test_a_worker_that_does_not_answer_or_answers_nonsense_is_left_out(tmp_path: Path, said: bytes) -> None:
    listener = await anyio.create_unix_listener(tmp_path / "worker-1.sock")

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if not said:
                await anyio.sleep_forever()
            await stream.send(said)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        text = generate_latest(await Siblings(tmp_path, 0, 2, patience=0.05).collect(registry(1)))
        assert "headrace_workers_answered 1.0" in lines(text)
        tasks.cancel_scope.cancel()


async def test_a_successor_takes_the_name_over_and_keeps_it_when_the_old_one_goes(tmp_path: Path) -> None:
    asker = Siblings(tmp_path, 0, 2)
    old, new = Siblings(tmp_path, 1, 2), Siblings(tmp_path, 1, 2)
    async with anyio.create_task_group() as tasks:
        async with answering(old, registry(7), tmp_path):
            tasks.start_soon(new.answer, registry(1))
            with anyio.fail_after(5):
                while 'streams_total{model="a",worker="1"} 1.0' not in lines(
                    generate_latest(await asker.collect(registry(0)))
                ):
                    await anyio.lowlevel.checkpoint()
        text = generate_latest(await asker.collect(registry(0)))
        assert 'streams_total{model="a",worker="1"} 1.0' in lines(text)
        tasks.cancel_scope.cancel()
    assert (tmp_path / "worker-1.sock").stat().st_mode & 0o777 == 0o600
