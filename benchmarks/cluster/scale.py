"""What the figures of one machine mean for very many streams: linear extrapolation, with every assumption named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks._page import grid
from benchmarks.cluster.capacity import Footprint

STREAMS: Final = 10_000_000
RATE: Final = 50
"""Tokens a second of each."""
ANSWER: Final = 500
"""Tokens of an answer."""
SHARE: Final = 0.6
"""Of a core that is planned with: the rest is for bursts, and for a neighbour that has failed."""
CELL: Final = 500
"""Primaries of one Redis Cluster: its specification speaks of 1,000 nodes, and each has a replica."""


@dataclass(frozen=True)
class Unit:
    """What one event and one stream cost: measured."""

    node_us: float
    """CPU of the producing and of the reading node together, for each event."""
    valkey_us: float
    """CPU of Valkey, for each event."""
    bytes_in: float
    bytes_out: float
    wire: float
    """Bytes to the reader."""


def cores(events: float, us: float) -> float:
    """How many, at the planned share."""
    return events * us / 1e6 / SHARE


def held(size: Footprint, retention: float) -> float:
    """Bytes in all Valkeys: streams that run are half written, those that have ended stay for `retention` seconds."""
    ended = STREAMS * RATE / ANSWER * retention
    return STREAMS * (size.stream + ANSWER / 2 * size.event) + ended * (size.stream + ANSWER * size.event)


def section(columns: dict[str, Unit], size: Footprint) -> str:
    """The arithmetic as a table, a column for each way to batch."""
    events = STREAMS * RATE
    rows: list[list[str]] = [["events/s", *[f"{events:,}"] * len(columns)]]

    def row(name: str, value: str, *values: float) -> None:
        rows.append([name, *(value.format(each) for each in values)])

    units = list(columns.values())
    primaries = [cores(events, unit.valkey_us) for unit in units]
    row("cores of nodes, with 1 token an append", "{:,.0f}", *(cores(events, unit.node_us) for unit in units))
    row("primaries of Valkey, a core each", "{:,.0f}", *primaries)
    row(f"Redis Clusters of {CELL} primaries", "{:,.0f}", *(each / CELL for each in primaries))
    for retention, name in ((3600, "1 h, the default"), (60, "1 min")):
        terabytes = held(size, retention) / 1e12
        row(f"TB in all primaries, ended streams kept {name}", "{:,.1f}", *[terabytes] * len(units))
    for name, sizes in (
        ("to the primaries", [unit.bytes_in for unit in units]),
        ("from the primaries", [unit.bytes_out for unit in units]),
        ("to the readers", [unit.wire for unit in units]),
    ):
        row(f"Gbit/s {name}", "{:,.0f}", *(events * size * 8 / 1e9 for size in sizes))
    return f"""{_ASSUMED}
{grid(("", *columns), rows)}
"""


_ASSUMED: Final = f"""Linear extrapolation: nothing of this size was run. Assumed:

- {STREAMS:,} streams at a time of {RATE} tokens/s, answers of {ANSWER} tokens;
- one reader of each, on another node than the one that produces, which is the dearest;
- cores as fast as these, of which {SHARE:.0%} is used: nodes as in the first table, Valkey as in the third, where
  it finds several commands whenever it looks. The less it has to do, the more each costs: see the first table;
- a replica for every primary, which is as many cores and as much memory again, and is not in the table;
- not in it either: starting and ending streams ({STREAMS * RATE // ANSWER:,} a second with such answers), TLS, load
  balancers, the model servers.

No Redis Cluster is that large, and none needs to be: streams know nothing of each other, so it is cells, each with a
cluster and nodes of its own. What is kept after the end outweighs what runs: `retention_seconds` decides about memory.
"""
