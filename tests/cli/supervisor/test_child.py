"""Real processes, each a few lines of Python."""

from __future__ import annotations

import os
import signal
import sys

import anyio
import anyio.abc
import pytest

from headrace.cli.supervisor.child import Child, Command
from headrace.errors import ConfigError, HeadraceError

pytestmark = pytest.mark.anyio
PATIENCE_S = 20


def python(program: str, **fields: object) -> Command:
    return Command("a program", [sys.executable, "-I", "-S", "-c", program], **fields)  # type: ignore[arg-type]


async def failure_of(command: Command, tasks: anyio.abc.TaskGroup) -> HeadraceError:
    try:
        await Child.start(command, tasks)
    except HeadraceError as error:
        return error
    raise AssertionError("it started")


async def test_a_child_reads_its_order_and_is_ready_when_it_says_so() -> None:
    program = "import sys; print('ready', sys.stdin.readline().upper(), flush=True); sys.stdin.read()"
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE_S):
            child = await Child.start(python(program, order=b"secret\n"), tasks)
            assert child.detail.strip() == "SECRET"
            child.send(signal.SIGTERM)
            await child.over.wait()
            assert child.status == "signal 15"


@pytest.mark.parametrize(("code", "kind"), [(1, HeadraceError), (2, ConfigError)])
async def test_a_child_that_says_why_it_failed_is_believed(code: int, kind: type[HeadraceError]) -> None:
    async with anyio.create_task_group() as tasks:
        program = f"""print('failed "no \\\\"such\\\\" file"'); raise SystemExit({code})"""
        error = await failure_of(python(program), tasks)
        assert error.message == 'no "such" file'
        assert type(error) is kind


@pytest.mark.parametrize("line", ["'failed to load a plugin'", "'x' * 200_000"])
async def test_whatever_a_child_says_it_is_listened_to(line: str) -> None:
    program = f"print({line}); print('ready', flush=True); import sys; sys.stdin.read()"
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE_S):
            child = await Child.start(python(program), tasks)
            child.send(signal.SIGTERM)
            await child.over.wait()
            assert child.status == "signal 15"


async def test_a_child_that_dies_without_a_word_is_told_by_its_last_lines() -> None:
    async with anyio.create_task_group() as tasks:
        error = await failure_of(python("print('line 1'); print('line 2'); raise SystemExit(3)"), tasks)
        assert error.message == "a program ended with status 3 before it was ready\n  line 1\n  line 2"


async def test_what_a_child_leaves_behind_ends_with_it() -> None:
    program = (
        "import os, sys, time\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(600)\n"
        "print('ready', pid, flush=True); sys.stdin.read()"
    )
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE_S):
            child = await Child.start(python(program), tasks)
            os.kill(child.pid, signal.SIGKILL)
            await child.over.wait()
            with pytest.raises(ProcessLookupError):
                while True:  # until whoever adopted it has taken notice of its end
                    os.kill(int(child.detail), 0)
                    await anyio.sleep(0.01)


async def test_a_start_that_is_given_up_leaves_no_process() -> None:
    reading, writing = os.pipe()
    program = f"import os, time; os.write({writing}, b'%d' % os.getpid()); time.sleep(600)"
    with anyio.fail_after(PATIENCE_S), os.fdopen(reading, "rb", buffering=0) as pids, os.fdopen(writing, "wb"):
        async with anyio.create_task_group() as tasks, anyio.create_task_group() as starting:
            starting.start_soon(Child.start, python(program, descriptors=(writing,)), tasks)
            await anyio.wait_readable(pids)
            starting.cancel_scope.cancel()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pids.read(20)), 0)


async def test_it_is_alone_in_its_session_so_that_ctrl_c_does_not_reach_it() -> None:
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE_S):
            child = await Child.start(python("import sys; print('ready', flush=True); sys.stdin.read()"), tasks)
            assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
            child.send(signal.SIGKILL)
            await child.over.wait()
            child.send(signal.SIGTERM)  # nobody is there, which is no error
            assert child.status == "signal 9"


async def test_a_child_that_nobody_watches_any_more_is_killed() -> None:
    program = "import os, sys; print('ready', os.getpid(), flush=True); sys.stdin.read()"
    started: list[Child] = []
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            started.append(await Child.start(python(program), tasks))
            tasks.cancel_scope.cancel()
    (child,) = started
    assert child.over.is_set() and child.status == "signal 9"
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
