"""Runs a program that knows nothing of us, and lets it live no longer than who started this.

    python -I -S tether.py PROGRAM ARGUMENT…

A file and no module, so that the interpreter loads nothing else. A parent's death signal (prctl) would need no process
for it, and is there on Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Final

# What the program may need to write down what it has.
_LAST_S: Final = 10


def main() -> None:
    """Pass SIGTERM on; end with the program's status."""
    os.umask(0o077)
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False) as program:

        def pass_on(*_: object) -> None:
            program.terminate()

        signal.signal(signal.SIGTERM, pass_on)
        threading.Thread(target=_end_with_parent, args=(program,), daemon=True).start()
        status = program.wait()
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


def _end_with_parent(program: subprocess.Popen[bytes]) -> None:
    """Its end is the end of stdin."""
    while os.read(0, 4096):
        pass
    program.terminate()
    try:
        program.wait(_LAST_S)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    main()
