"""The processes that the end-to-end tests start, each ended by its own id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = Path(sys.executable).parent
HEADRACE = str(PROGRAMS / "headrace")
ROOT = Path(__file__).parents[2]

# Longer than a slow machine may need; nothing waits for it to pass.
PATIENCE_S = 40
_DEFECTS = ("Traceback", "ASGI callable returned", "Exception in", "never retrieved", "was never awaited")


def environment(**extra: str) -> dict[str, str]:
    """As little as a process can run with. PYTHONPATH, because a test run on a copy of the code names the copy so."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {"PATH": os.pathsep.join((str(PROGRAMS), os.environ["PATH"])), **kept, **extra}


def command(*arguments: str, text: str | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        arguments,
        env=environment(**extra),
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
    )


@contextlib.contextmanager
def running(arguments: Sequence[str], *, stderr: Any = subprocess.DEVNULL, **extra: str) -> Iterator[Any]:
    """A process whose output is read while it runs; it does not outlive the test."""
    process = subprocess.Popen(
        arguments, env=environment(**extra), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


class Server:
    """A running `headrace serve`."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process = process
        self._errors = errors
        self._killed = False
        self.greeting = ""
        assert process.stdout is not None
        for line in process.stdout:
            self.greeting += line.decode()
            if line.startswith(b"Ctrl-C"):
                break
        assert "listens on" in self.greeting, f"headrace serve did not start: {self.output}"
        self.url = self.greeting.partition("listens on ")[2].split()[0]
        self.api = f"{self.url}/v1"

    @property
    def output(self) -> str:
        """Everything that it has printed and logged."""
        return self.greeting + self._errors.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged of ended streams, in order."""
        return [json.loads(line) for line in self._errors.read_text().splitlines() if line.startswith("{")]

    @property
    def open_files(self) -> int:
        """How many; from /proc, or from `lsof` where there is none, as on macOS."""
        if os.path.isdir("/proc/self/fd"):
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return len(command("lsof", "-p", str(self.process.pid)).stdout.splitlines())

    @property
    def memory(self) -> int:
        """The most that it ever had, in bytes; what it has now where there is no /proc, as on macOS."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
        return int(command("ps", "-o", "rss=", "-p", str(self.process.pid)).stdout) * 1024

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it as a crash would; that is no good end, and none is asked for then."""
        self._killed = True
        self.end(signal.SIGKILL)

    def check(self) -> None:
        """It ended well, and nothing in its log is a defect."""
        code = self.end()
        assert code == (-signal.SIGKILL if self._killed else 0), self.output
        assert not [sign for sign in _DEFECTS if sign in self.output], self.output


@contextlib.contextmanager
def serving(directory: Path, *options: str, **extra: str) -> Iterator[Server]:
    """`headrace serve`; it must end with 0 at SIGTERM, and have logged no defect in its life."""
    errors = directory / "stderr.txt"
    # A test that fails with an open connection must not make the end slow.
    extra = {"HEADRACE_DRAIN_TIMEOUT": "2", **extra}
    arguments = [HEADRACE, "serve", "--port", "0", *options]
    with errors.open("w") as sink, running(arguments, stderr=sink, **extra) as process:
        server = Server(process, errors)
        yield server
        server.check()


@contextlib.contextmanager
def llamacpp(api_key: str, slots: int) -> Iterator[str]:
    """llama.cpp's own server; gives the address of its API."""
    script = ROOT / "tests" / "servers" / "llamacpp.py"
    arguments = [sys.executable, str(script), "--port", "0", "--api-key", api_key, "--slots", str(slots)]
    with running(arguments, stderr=None) as process:
        first = process.stdout.readline().decode()
        assert first.startswith("ready "), first
        yield first.split()[1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def eventually(holds: Callable[[], Any]) -> None:
    """Ask until it holds. Only for states of another process that nothing announces."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
