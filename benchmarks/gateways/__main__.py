"""The command: options in, a table and an exit code out."""

from __future__ import annotations

import argparse
import resource
import sys

from benchmarks import gateways as package
from benchmarks.gateways.rounds import LOADS, Plan, all_runs, say
from benchmarks.gateways.servers import SERVERS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench gateways", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="SERVERS", default=",".join(SERVERS), help="comma-separated; all by default")
    parser.add_argument("--loads", default=",".join(LOADS), help="comma-separated; all by default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="of each")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a window")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that a run waits for a quiet machine")
    parser.add_argument("--quick", action="store_true", help="one short round")
    return parser


def main() -> int:
    """Read the options, measure, and say what came out."""
    parser = _parser()
    given = parser.parse_args()
    if sys.platform != "linux":
        parser.error("it reads /proc and pins processes to cores: Linux only")
    servers = [SERVERS[name] for name in given.only.split(",")]
    plan = Plan(tuple(given.loads.split(",")), given.runs, given.seconds, given.patience)
    if given.quick:
        plan = Plan(plan.loads, 1, 2.0, 0.0, rush_share=0.25)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = False
    for result in all_runs(servers, plan):
        say(result)
        failed |= not result.good
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
