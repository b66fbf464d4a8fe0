"""The tether as a process, holding a program that knows nothing of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli.supervisor import valkey

TETHER = Path(valkey.__file__).with_name("tether.py")
PATIENCE_S = 20
WAITS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def tethered(program: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-I", "-S", str(TETHER), sys.executable, "-I", "-S", "-c", program]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("end", ["stdin", "SIGTERM"])
def test_a_program_ends_with_whoever_holds_it(end: str):
    with tethered(WAITS) as process:
        held = int(first_line(process))
        if end == "stdin":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.kill(held, 0)


def test_a_programs_status_is_passed_on():
    with tethered("raise SystemExit(3)") as process:
        assert process.wait(PATIENCE_S) == 3


def test_what_a_program_writes_is_its_users_alone():
    with tethered("import os; mask = os.umask(0); print(oct(mask), flush=True)") as process:
        assert first_line(process) == "0o77"
        assert process.wait(PATIENCE_S) == 0
