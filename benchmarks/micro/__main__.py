"""The command: options in, a table and an exit code out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import micro as package
from benchmarks.micro import report
from benchmarks.micro.meters import Clock, Instructions, Meter, Side, Unavailable
from benchmarks.micro.pairing import Comparison, compare, in_turn
from benchmarks.micro.selftest import compare_with_itself, mistakes
from benchmarks.micro.trees import UnknownRevision, checked_out, differing, this_tree

RESULT = Path(__file__).parents[1] / "results" / "micro.md"


def main() -> int:
    """Read the options and run."""
    options = _parser().parse_args()
    try:
        meter = Instructions() if options.instructions else Clock()
        if options.self_test:
            return _self_test(meter, options)
        if options.against is not None:
            return _against(meter, options)
        return _costs(meter, options)
    except (UnknownRevision, Unavailable) as problem:
        print(f"micro: {problem}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench micro", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", metavar="REV", help="compare with this revision")
    parser.add_argument("--self-test", action="store_true", help="see that a tenth more is seen, and nothing else")
    parser.add_argument("--instructions", action="store_true", help="count them, with valgrind, instead of timing")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases whose name has one of these in it")
    parser.add_argument("--pairs", type=int, help="processes a side (10, or 1 that counts instructions)")
    parser.add_argument("--threshold", type=float, default=10, metavar="PERCENT", help="the change to look for (10)")
    parser.add_argument("--fail", action="store_true", help="exit code 1 when a case is slower, or fails only here")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/micro.md")
    return parser


def _told(text: str) -> None:
    print(f"micro: {text}", file=sys.stderr, flush=True)


def _costs(meter: Meter, options: argparse.Namespace) -> int:
    """What everything costs in this tree."""
    [known] = in_turn(meter, [Side(this_tree())], options.only, options.pairs or meter.pairs, _told)
    if options.json:
        print(json.dumps(report.costs_json(known, meter.unit), indent=2))
    else:
        print(report.costs_table(known, meter.unit))
    for name, reason in known.failed.items():
        _told(f"{name} failed: {reason}")
    return 1 if known.failed else 0


def _against(meter: Meter, options: argparse.Namespace) -> int:
    """This tree and an earlier one."""
    with checked_out(options.against) as old:
        here = this_tree()
        sides = Side(old), Side(here)
        pairs = options.pairs or meter.pairs
        found = compare(meter, sides, options.only, pairs, options.threshold / 100, _told)
        changed = differing(old, here)
    _show(found, meter, options, changed)
    slower = any(verdict.word == "slower" for verdict in found.verdicts.values())
    return 1 if options.fail and (slower or found.known[1].failed) else 0


def _self_test(meter: Meter, options: argparse.Namespace) -> int:
    """This tree and itself, slowed in places."""
    found, slower = compare_with_itself(meter, options.only, options.pairs or meter.pairs, _told)
    _show(found, meter, options, [])
    wrong = mistakes(found, slower)
    for each in wrong:
        print(each, file=sys.stderr)
    _told(f"{len(slower)} of {len(found.verdicts)} cases were slowed by a tenth; {len(wrong)} mistakes")
    if options.save:
        RESULT.write_text(report.page(found, slower, wrong, _counted(options)), encoding="utf-8")
    return 1 if wrong else 0


def _counted(options: argparse.Namespace) -> dict[str, list[float]]:
    """Instructions by case, where they can be counted."""
    try:
        [known] = in_turn(Instructions(), [Side(this_tree())], options.only, 1, _told)
    except Unavailable:
        return {}
    return known.values


def _show(found: Comparison, meter: Meter, options: argparse.Namespace, changed: list[str]) -> None:
    if options.json:
        print(json.dumps(report.comparison_json(found, meter.unit, changed), indent=2))
        return
    print(report.comparison_table(found, meter.unit))
    for line in (report.missing_lines(found.missing), report.differing_line(changed)):
        if line:
            print(f"\n{line}")


if __name__ == "__main__":
    sys.exit(main())
