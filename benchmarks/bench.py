"""Load tester: chunks per second that `headrace bench` reads on one core, and how much of the core that takes.

A real `headrace mock` process on one core and a real `headrace bench` process on another. Two loads: answers without
gaps, which come in batches as large as a read, and many streams with a gap, whose chunks come alone or in twos.
Loopback only; it ends by itself.

    scripts/bench bench [--times 3] [--streams 1000] [--gap 20ms]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HEADRACE = str(Path(sys.executable).with_name("headrace"))


def pinned(core: int, *arguments: str) -> list[str]:
    """A command on one core, where the system can do that and has one."""
    cores = os.cpu_count() or 1
    return ["taskset", "-c", str(core), *arguments] if sys.platform == "linux" and core < cores else [*arguments]


def measure(url: str, *arguments: str) -> dict[str, Any]:
    """The result of one run."""
    command = pinned(1, HEADRACE, "bench", "--url", url, "--model", "mock", "--json", "-", *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=600)
    return json.loads(done.stdout)["results"][0]


def line(name: str, result: dict[str, Any]) -> str:
    """What a run says about the client."""
    share = result["client_cpu_share"]
    together = result["chunks_in_same_read"] / result["total_chunks"]
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{name:<28} {result['chunk_throughput']:>9,.0f} chunks/s  {share:>4.0%} of a core  "
        f"{result['chunk_throughput'] / share:>9,.0f} per core  {together:>4.0%} in batches  "
        f"late {result['client_late_ms']:.1f} ms  failed {result['failed']}  load {load}"
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--gap", default="20ms")
    options = parser.parse_args()
    mock = subprocess.Popen(pinned(0, HEADRACE, "mock", "--tokens", "10000"), stdout=subprocess.PIPE, text=True)
    try:
        assert mock.stdout is not None
        url = mock.stdout.readline().split()[-1]
        paced = json.dumps({"mock": {"gap": options.gap}})
        streams = str(options.streams)
        for _ in range(options.times):
            at_once = measure(url, "--max-concurrency", "50", "--num-prompts", "2000", "--output-len", "500")
            print(line("50 streams, no gap", at_once), flush=True)
            spread = measure(
                *(url, "--max-concurrency", streams, "--num-prompts", streams, "--output-len", "500"),
                *("--extra-body", paced, "--ramp-up", "1"),
            )
            print(line(f"{streams} streams, {options.gap} apart", spread), flush=True)
    finally:
        mock.terminate()
        mock.wait()


if __name__ == "__main__":
    main()
