"""The page of results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from benchmarks._page import grid, machine
from benchmarks.cluster.capacity import Capacity, Footprint
from benchmarks.cluster.load import Load
from benchmarks.cluster.measure import Figures
from benchmarks.cluster.scale import Unit, section
from benchmarks.cluster.spread import Spread

HOPS = {
    "direct": "mock → reader, no Headrace",
    "memory": "mock → A → reader; store in memory",
    "same": "mock → A → reader; Valkey",
    "other": "mock → A → Valkey → B → reader",
}
_NOTE = """All processes are on one machine: {cores} cores carry the mock, the nodes, Valkey and the readers together.
So a time, which is from the mock's stamp to the reader, has waits for a core in it, and network round trips come on
top. CPU is that of each process, as the kernel counts it. Medians, with the lowest and the highest of the rounds."""
_COMMANDS = "Commands are scripts, reads and subscriptions, not what a script calls."
_CAPACITY = """The appends of producers, without the producers: see `benchmarks/cluster/capacity.py`. Where Valkey had
less than a core, others were at work here, or the sender was the limit; the whole core is what it would be."""
_FANOUT = "A produces, nobody reads there; all readers are at B."


def over(runs: Sequence[Figures], value: Callable[[Figures], float], digits: int = 1) -> str:
    """A figure of several rounds."""
    return Spread.of(map(value, runs)).text(digits)


def hops(runs: dict[str, list[Figures]]) -> str:
    """What a token meets on its way."""
    rows: list[list[str]] = []
    for case, found in runs.items():
        producer = {"memory": "memory", "same": "a", "other": "a"}.get(case)
        rows.append(
            [
                HOPS[case],
                over(found, lambda run: run.events / run.seconds, 0),
                over(found, lambda run: run.latency["latency_p50_ms"], 2),
                over(found, lambda run: run.latency["latency_p99_ms"], 2),
                over(found, lambda run, name=producer: run.cpu[name]) if producer else "—",
                over(found, lambda run: run.cpu["b"]) if case == "other" else "—",
                over(found, lambda run: run.cpu["valkey"]) if case in ("same", "other") else "—",
            ]
        )
    cpu = (f"{name}, CPU µs/event" for name in ("A", "B", "Valkey"))
    cpu = (f"{name}, CPU µs/event" for name in ("A", "B", "Valkey"))
    return grid(("way", "events/s", "p50 ms", "p99 ms", *cpu), rows)


def fanout(runs: dict[Load, list[Figures]]) -> str:
    """Readers at B of what A produces."""
    rows = [
        [
            f"{load.streams:,}",
            f"{load.readers:,}",
            over(found, lambda run: run.events / run.seconds, 0),
            over(found, lambda run: run.cpu["b"]),
            over(found, lambda run: run.share["b"] * 100, 0),
            over(found, lambda run: run.share["valkey"] * 100, 1),
            over(found, lambda run: run.valkey["commands"], 0),
            over(found, lambda run: run.latency["latency_p99_ms"], 2),
        ]
        for load, found in runs.items()
    ]
    heads = (
        "streams",
        "readers of each",
        "delivered/s",
        "B, CPU µs/delivered",
        "B, % of a core",
        "Valkey, % of a core",
    )
    return grid((*heads, "commands/s", "p99 ms"), rows)


def commands(found: Sequence[Figures], load: Load) -> str:
    """What Valkey is asked, for a thousand streams."""
    times = 1000 / load.streams
    parts = [
        f"{over(found, lambda run: run.valkey['commands'] * times, 0)} commands/s",
        f"{over(found, lambda run: run.valkey['total_net_input_bytes'] * times / 1e6)} MB/s to Valkey",
        f"{over(found, lambda run: run.valkey['total_net_output_bytes'] * times / 1e6)} MB/s from it",
    ]
    what = f"For 1,000 streams of {1 / load.gap:g} tokens/s, {times:g} × what was measured:"
    return f"{what} {', '.join(parts)}.\n{_COMMANDS}"


def capacity(runs: dict[tuple[int, int, bool], list[Capacity]]) -> str:
    """One Valkey under as many appends as it answers."""
    rows = [
        [
            f"{streams:,}",
            str(batch),
            "yes" if listened else "no",
            Spread.of(each.events for each in found).text(0),
            Spread.of(each.share * 100 for each in found).text(0),
            Spread.of(each.per_core for each in found).text(0),
            Spread.of(each.bytes_in for each in found).text(0),
            Spread.of(each.bytes_out for each in found).text(0),
        ]
        for (streams, batch, listened), found in runs.items()
    ]
    heads = (
        "streams",
        "tokens an append",
        "another node listens",
        "events/s",
        "% of a core",
        "events/s of a whole core",
    )
    return grid((*heads, "bytes in/event", "bytes out/event"), rows)


def memory(size: Footprint) -> str:
    """What streams take in Valkey."""
    return f"A stream takes {size.stream:,.0f} bytes and its request, a token of one word {size.event:,.0f} bytes."


def units(other: Sequence[Figures], runs: dict[tuple[int, int, bool], list[Capacity]]) -> dict[str, Unit]:
    """What events cost by the tokens of an append, where another node listens."""
    node_us = Spread.of(run.cpu["a"] + run.cpu["b"] for run in other).median
    wire = Spread.of(run.wire for run in other).median

    def unit(found: Sequence[Capacity]) -> Unit:
        def median(value: Callable[[Capacity], float]) -> float:
            return Spread.of(map(value, found)).median

        return Unit(
            node_us,
            median(lambda each: 1e6 / each.per_core),
            median(lambda each: each.bytes_in),
            median(lambda each: each.bytes_out),
            wire,
        )

    names = {batch: f"{batch} token{'s' if batch > 1 else ''} an append" for _, batch, _ in runs}
    return {names[batch]: unit(found) for (_, batch, listened), found in runs.items() if listened}


def page(
    hop_runs: dict[str, list[Figures]],
    fanout_runs: dict[Load, list[Figures]],
    capacity_runs: dict[tuple[int, int, bool], list[Capacity]],
    size: Footprint | None,
    load: Load,
) -> str:
    """All of it, in Markdown."""
    busy = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    parts = [
        "# What streams cost that many nodes share",
        f"Made by `scripts/bench cluster`. {_NOTE.format(cores=os.cpu_count())}",
        f"{machine()}; load of the machine at the end: {busy}.",
    ]
    if hop_runs:
        parts += ["## A token's way", f"{load.streams} streams of {1 / load.gap:g} tokens/s.", hops(hop_runs)]
        parts += [commands(hop_runs["other"], load)]
    if fanout_runs:
        parts += ["## Readers on another node", _FANOUT, fanout(fanout_runs)]
    if capacity_runs and size is not None:
        parts += ["## What one Valkey carries", _CAPACITY, capacity(capacity_runs), memory(size)]
    if hop_runs and capacity_runs and size is not None:
        parts += ["## Ten million streams", section(units(hop_runs["other"], capacity_runs), size)]
    return "\n\n".join(parts).rstrip() + "\n"
