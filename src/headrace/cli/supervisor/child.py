"""One process that the supervisor has started, and that does not outlive it.

Its stdin is a pipe that nobody but the supervisor holds open: a process that reads its end knows that the supervisor is
gone, however it died. It has a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace.errors import ConfigError, HeadraceError

log = logging.getLogger("headrace.supervisor")

_LONGEST_LINE: Final = 65_536
_LAST_LINES: Final = 5
# What it said before it died is in the pipe; a process of its own that it has left behind may keep the pipe open.
_LAST_WORDS_S: Final = 1.0
_BAD_CONFIGURATION: Final = 2


class Command(msgspec.Struct, frozen=True):
    """How a process is started."""

    name: str
    """What errors and the log call it."""
    arguments: Sequence[str]
    order: bytes = b""
    """What it reads first from its stdin."""
    descriptors: Sequence[int] = ()
    """Further ones that it inherits, under the same numbers."""
    environment: Mapping[str, str] | None = None
    """None is ours."""
    ready: Callable[[bytes], str | None] = lambda line: _told(line, b"ready")
    """What a line of its stdout says about its being ready; None: nothing."""


class Child:
    """A running process; `start` gives one that is ready."""

    def __init__(self, command: Command, process: anyio.abc.Process) -> None:
        self.name = command.name
        self.pid = process.pid
        self.detail = ""
        """What it said when it was ready."""
        self.over = anyio.Event()
        """Set once it has ended."""
        self._command = command
        self._process = process
        self._lines = deque[str](maxlen=_LAST_LINES)
        self._failure: str | None = None
        self._ready = anyio.Event()
        self._silent = anyio.Event()

    @classmethod
    async def start(cls, command: Command, tasks: anyio.abc.TaskGroup) -> Child:
        """Start it, and return once it is ready; it is watched by a task of `tasks`.

        Raises:
            HeadraceError: it ended before, with what it said about that.
        """
        process = None
        with anyio.CancelScope(shield=True):  # or there would be a process that nobody knows
            process = await anyio.open_process(
                command.arguments,
                stderr=None,
                env=command.environment,
                pass_fds=command.descriptors,
                start_new_session=True,
            )
        assert process is not None
        child = cls(command, process)
        tasks.start_soon(child._watch)
        try:
            with contextlib.suppress(anyio.BrokenResourceError):  # it has died; `over` tells
                await _stdin_of(process).send(command.order)
            await child._ready.wait()
        except BaseException:
            child.send(signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await child.over.wait()
            raise
        if child.over.is_set():
            raise child._dead()
        return child

    @property
    def status(self) -> str:
        """How it ended, in words; after `over`."""
        code = self._process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"status {code}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs; SIGKILL reaches what it has started too."""
        with contextlib.suppress(ProcessLookupError):
            if self.over.is_set():
                return
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)

    async def _watch(self) -> None:
        """Follow it to its end. Whoever cancels this has no more use for it: then it is killed."""
        try:
            await self._follow()
        finally:
            with anyio.CancelScope(shield=True):
                if self._process.returncode is None:
                    self.send(signal.SIGKILL)
                await self._process.aclose()
            self.over.set()
            self._ready.set()

    async def _follow(self) -> None:
        """Read what it says until it ends: a full pipe would stop it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            await self._process.wait()
            self.send(signal.SIGKILL)  # what it started must not go on without it
            with anyio.move_on_after(_LAST_WORDS_S):
                await self._silent.wait()
            tasks.cancel_scope.cancel()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        stream = BufferedByteReceiveStream(self._process.stdout)
        with contextlib.suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError):
            while True:
                self._heard(await _line(stream))
        self._silent.set()

    def _heard(self, line: bytes) -> None:
        if not self._ready.is_set():
            detail = self._command.ready(line)
            if detail is not None:
                self.detail = detail
                self._ready.set()
        failure = _told(line, b"failed")
        if failure is not None:
            with contextlib.suppress(msgspec.DecodeError):  # a library's words, which happen to begin so
                self._failure = msgspec.json.decode(failure, type=str)
        text = line.decode("utf-8", "replace").strip()
        self._lines.append(text)
        log.debug("%s: %s", self.name, text)

    def _dead(self) -> HeadraceError:
        if self._failure is not None:
            kind = ConfigError if self._process.returncode == _BAD_CONFIGURATION else HeadraceError
            return kind(self._failure)
        said = "".join(f"\n  {line}" for line in self._lines)
        return HeadraceError(f"{self.name} ended with {self.status} before it was ready{said}")


async def _line(stream: BufferedByteReceiveStream) -> bytes:
    """The next line, or so much of it as may be one."""
    try:
        return await stream.receive_until(b"\n", _LONGEST_LINE)
    except anyio.DelimiterNotFound:
        return await stream.receive_exactly(_LONGEST_LINE)


def _told(line: bytes, word: bytes) -> str | None:
    first, _, rest = line.partition(b" ")
    return rest.decode("utf-8", "replace") if first.strip() == word else None


def _stdin_of(process: anyio.abc.Process) -> anyio.abc.ByteSendStream:
    assert process.stdin is not None
    return process.stdin
