"""The command: options in, a table and an exit code out."""

from __future__ import annotations

import argparse
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import gateways as package
from benchmarks.gateways.chart import chart
from benchmarks.gateways.machine import description
from benchmarks.gateways.rounds import LOADS, Plan, Run, all_runs, say
from benchmarks.gateways.servers import SERVERS
from benchmarks.gateways.servers.base import Server
from benchmarks.gateways.summary import rows
from benchmarks.gateways.table import page, tables, unmeasured

_RESULTS = Path(__file__).parents[1] / "results"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench gateways", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="SERVERS", default=",".join(SERVERS), help="comma-separated; all by default")
    parser.add_argument("--loads", default=",".join(LOADS), help="comma-separated; all by default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="of each")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a window")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that a run waits for a quiet machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument(
        "--save",
        metavar="NAME",
        nargs="?",
        const="gateways",
        help="write benchmarks/results/NAME.json, .md and .svg; %(const)s by default",
    )
    parser.add_argument("--install", action="store_true", help="install the servers that are not there, and end")
    parser.add_argument("--quick", action="store_true", help="one short round")
    return parser


def main() -> int:
    """Read the options, measure, and say what came out."""
    parser = _parser()
    given = parser.parse_args()
    if sys.platform != "linux":
        parser.error("it reads /proc and pins processes to cores: Linux only")
    servers = [SERVERS[name] for name in given.only.split(",")]
    if given.install:
        return _install(servers)
    plan = Plan(tuple(given.loads.split(",")), given.runs, given.seconds, given.patience)
    if given.quick:
        plan = Plan(plan.loads, 1, 2.0, 0.0, rush_share=0.25)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Whoever ends this ends what it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    present = [server for server in servers if server.version()]
    runs: list[Run] = []
    for result in all_runs(present, plan):
        say(result)
        runs.append(result)
    _report(servers, runs, given.json, given.save)
    return 1 if any(not run.good for run in runs) else 0


def _report(servers: Sequence[Server], runs: Sequence[Run], written: Path | None, save: str | None) -> None:
    """Say what came out, and keep it where that is asked for."""
    found = rows(runs)
    missing = unmeasured(servers, runs)
    print(f"\n{tables(found)}\n")
    for name, why in missing.items():
        print(f"not measured: {name}: {why}")
    about = {server.name: {"version": server.version(), "how": server.how} for server in servers}
    result = {"machine": description(), "servers": about, "unmeasured": missing, "rows": found, "runs": runs}
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
    if written is not None:
        written.write_text(text, encoding="utf-8")
    if save:
        (_RESULTS / f"{save}.json").write_text(text, encoding="utf-8")
        (_RESULTS / f"{save}.md").write_text(page(found, about, description(), missing), encoding="utf-8")
        (_RESULTS / f"{save}.svg").write_text(chart(found), encoding="utf-8")


def _install(servers: Sequence[Server]) -> int:
    """Install what is missing; say what there is."""
    missing = 0
    for server in servers:
        failure = ""
        if server.install is not None and not server.version():
            print(f"{server.name} …", file=sys.stderr, flush=True)
            try:
                server.install()
            except (OSError, subprocess.SubprocessError) as error:
                failure = str(error)
        found = server.version()
        missing += not found
        print(f"{server.name:<12} {found or f'MISSING: {failure}'}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
