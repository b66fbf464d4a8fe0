"""Which processes a server has, in which order they start and end, and what signals mean."""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec
import typer

from headrace.cli import logs
from headrace.cli.order import Order, encode
from headrace.cli.supervisor import model_server, valkey
from headrace.cli.supervisor.child import Child, Command
from headrace.cli.supervisor.directories import data_directory, run_directory
from headrace.cli.supervisor.kept import Kept
from headrace.cli.supervisor.model_server import ModelServer
from headrace.config import Config, Secret
from headrace.errors import HeadraceError

log = logging.getLogger("headrace.supervisor")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What a worker takes beyond drain_timeout: last reads, last writes.
_LAST_READS_S: Final = 5.0
_FIXED: Final = (
    *("host", "port", "workers", "data", "redis_url", "redis_prefix", "secret", "max_log_bytes"),
    *("local_slots", "local_queue", "local_context"),
)
"""What other processes than workers have been told, or what all workers must have in common."""


def supervise(
    config: Config, read: Callable[[], Config], sockets: Sequence[socket.socket], greet: Callable[[], None]
) -> None:
    """Serve on bound sockets until a signal. `read` gives the configuration as it is now, `greet` says that all is up.

    Raises:
        HeadraceError: a process could not be started, or dies again and again.
    """
    logging.config.dictConfig(logs.settings(config.log_level, "supervisor"))
    with contextlib.ExitStack() as stack:
        lock = None if config.data is None else stack.enter_context(data_directory(Path(config.data)))
        directory = stack.enter_context(run_directory())

        async def run() -> None:
            await Supervisor(config, read, sockets, directory, lock).run(greet)

        anyio.run(run)


class Supervisor:
    """One server's processes."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        sockets: Sequence[socket.socket],
        directory: Path,
        lock: int | None,
    ) -> None:
        """`directory` is private, for sockets; `lock` is what holds the directory of `data`."""
        self._config = config
        self._read = read
        self._sockets = sockets
        self._directory = directory
        self._lock = lock
        self._secret = config.secret
        self._model = ModelServer(config)
        self._tasks: anyio.abc.TaskGroup
        self._beside: list[Kept] = []
        """What workers need; started before them, ended after them in the opposite order."""
        self._workers: list[Kept] = []
        self._life = anyio.CancelScope()
        self._reload = anyio.Event()
        self._failure: HeadraceError | None = None
        self._terminal = sys.stdin is not None and sys.stdin.isatty()

    async def run(self, greet: Callable[[], None]) -> None:
        """Start everything, and end it in order at a signal or when something cannot be kept alive.

        Raises:
            HeadraceError: what that was.
        """
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._obey, signals)
                with self._life:
                    await self._serve(greet)
                with anyio.CancelScope(shield=True):
                    await self._end()
                tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _serve(self, greet: Callable[[], None]) -> None:
        await self._start()
        greet()
        while True:
            await self._reload.wait()
            self._reload = anyio.Event()
            await self._replace_workers()

    async def _start(self) -> None:
        config = self._config
        if config.redis_url is None:
            _show("Starting Valkey …")
            await self._open_beside(Kept(valkey.NAME, self._start_valkey))
            if config.data is None and config.secret is None:
                # A Valkey that dies would forget the one that workers have agreed on.
                self._secret = Secret(secrets.token_urlsafe(32))
        if model_server.is_wanted(config):
            _show("Loading the embedded model …")
            await self._open_beside(Kept(model_server.NAME, self._start_model))
        _show("Starting workers …" if config.workers > 1 else "Starting a worker …")
        self._workers = [self._worker(number) for number in range(config.workers)]
        # One before the others: what one cannot do they cannot either, and it is said once.
        await self._open(self._workers[0])
        async with anyio.create_task_group() as tasks:
            for worker in self._workers[1:]:
                tasks.start_soon(self._open, worker)

    async def _open(self, kept: Kept) -> None:
        try:
            await kept.open()
        except HeadraceError as error:
            self._give_up(error)
            await anyio.lowlevel.checkpoint()  # which ends here: the life is over
        self._tasks.start_soon(kept.keep, self._give_up)

    async def _open_beside(self, kept: Kept) -> None:
        self._beside.append(kept)
        await self._open(kept)

    def _give_up(self, error: HeadraceError) -> None:
        self._failure = self._failure or error
        self._life.cancel()

    async def _end(self) -> None:
        """Workers first, all at once: their last words go to Valkey, and what they ask the model is cut by them."""
        for each in self._sockets:
            each.close()  # or who connects after the last worker has gone would wait for nobody
        async with anyio.create_task_group() as tasks:
            for worker in self._workers:
                tasks.start_soon(worker.stop)
        for kept in reversed(self._beside):
            await kept.stop()

    async def _obey(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for number in signals:
            if number == signal.SIGHUP and not self._terminal_has_gone():
                self._reload.set()
            elif not self._life.cancel_called:
                log.info("stopping at %s", number.name)
                self._life.cancel()
            else:
                for worker in self._workers:
                    worker.signal(signal.SIGTERM)

    def _terminal_has_gone(self) -> bool:
        """A terminal that is closed sends SIGHUP as well; then nobody wants a new configuration."""
        return self._terminal and not os.isatty(0)

    async def _replace_workers(self) -> None:
        """One after the other, so that all but one serve at any time."""
        try:
            self._config = self._changed(self._read())
            for worker in self._workers:
                await worker.replace()
        except HeadraceError as error:
            for line in error.message.splitlines():
                log.error("not reloaded: %s", line)
        else:
            log.info("reloaded: every worker has the new configuration")

    def _changed(self, new: Config) -> Config:
        old = self._config
        differ = [key for key in _FIXED if getattr(old, key) != getattr(new, key)]
        if model_server.is_wanted(new) and not model_server.is_wanted(old):
            raise HeadraceError("the embedded model was not served before: restart the server for it")
        if differ:
            log.warning("a restart is needed to change %s", ", ".join(differ))
        return msgspec.structs.replace(new, **{key: getattr(old, key) for key in differ})

    async def _start_valkey(self) -> Child:
        return await Child.start(valkey.command(self._config, self._directory, self._lock), self._tasks)

    async def _start_model(self) -> Child:
        child = await Child.start(self._model.command(), self._tasks)
        self._model.port = int(child.detail)
        return child

    def _worker(self, number: int) -> Kept:
        async def start() -> Child:
            return await Child.start(self._worker_command(number), self._tasks)

        return Kept(f"worker {number}", start, patience=self._config.drain_timeout + _LAST_READS_S)

    def _worker_command(self, number: int) -> Command:
        config = self._config
        own = Secret(f"unix://{quote(str(valkey.socket_of(self._directory)))}")
        config = msgspec.structs.replace(
            config,
            models=tuple(self._model.serve(model) for model in config.models),
            redis_url=config.redis_url or own,
            secret=self._secret,
        )
        descriptors = tuple(each.fileno() for each in self._sockets)
        return Command(
            f"worker {number}",
            [sys.executable, "-P", "-m", "headrace.cli.worker", str(number)],
            order=encode(Order(config, number, str(self._directory), descriptors)),
            descriptors=descriptors,
        )


def _show(text: str) -> None:
    """Progress, for who sits before it; a log has no use for it."""
    if sys.stderr is not None and sys.stderr.isatty():
        typer.echo(text, err=True)
