"""What can go wrong at the upstream, each with the end that its stream must come to.

The mock's faults are docs/mock.md's. "Parts" are the frames of an answer that say something.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

FINISHED: Final = ("finished", "")
LONG_LINE: Final = "480kB"
"""Under the server's limit of a line: it becomes a frame that blocks a reader who does not read."""
TOO_LONG_LINE: Final = "1MB"
"""Over it."""


class Fault(NamedTuple):
    """One fault, drawn."""

    text: str
    """As the mock reads it; empty for none."""
    outcome: tuple[str, str] = FINISHED
    """State and code of the stream's end."""
    keeps: int | None = None
    """Parts that arrive; None: all."""
    every: int = 0
    """Every so many frames one comes twice."""
    exact: bool = True
    """Whether all of that arrives, or any beginning of it."""
    in_character: bool = False
    """Whether the first part after `keeps` that is not ASCII is the one that breaks."""
    plain: bool = False
    """Whether the answer must have neither reasoning nor tool calls."""
    fat_after: int | None = None
    """After so many parts comes a frame of `LONG_LINE`."""

    @property
    def name(self) -> str:
        """For the table: without arguments that differ from stream to stream."""
        return " + ".join(map(_short, self.text.split(";"))) or "none"

    @property
    def speaks(self) -> bool:
        """Whether the stream has content before it goes wrong, if it does: its idempotency key is then kept."""
        return self.outcome == FINISHED or (bool(self.keeps) and self.exact)


CLEAN: Final = Fault("")
_Draw = Callable[[Random, int], Fault]


def _short(text: str) -> str:
    name, _, rest = text.strip().partition(":")
    shown = f"{name}:{rest.partition(',')[0]}" if name == "status" else name
    return f"{shown}, at first" if "first=" in rest else shown


def _early(text: str, code: str) -> Fault:
    """One that leaves nothing of the answer."""
    return Fault(text, ("failed", code), 0)


def _after(text: str, code: str) -> _Draw:
    """Something after N parts, at the end if there are fewer."""

    def draw(random: Random, parts: int) -> Fault:
        count = random.randint(1, parts + 1)
        return Fault(text.format(n=count), ("failed", code), count)

    return draw


def _cut(name: str, *, in_character: bool = False) -> _Draw:
    def draw(random: Random, parts: int) -> Fault:
        count, how = random.randint(0, parts), random.choice(("close", "reset"))
        # Without a character of several bytes in what is left nothing would be cut.
        count = min(count, parts // 2) if in_character else count
        return Fault(
            f"{name}:{count},how={how}", ("failed", "upstream_incomplete"), count, in_character=in_character, plain=True
        )

    return draw


def _long_line(random: Random, parts: int) -> Fault:
    count = random.randint(1, max(1, parts // 2))
    return Fault(f"long-line:{LONG_LINE},after={count}", fat_after=count)


def _cut_bytes(random: Random, parts: int) -> Fault:
    size, how = random.randint(0, 200 * parts), random.choice(("close", "reset"))
    return Fault(f"cut-bytes:{size},how={how}", ("failed", "upstream_incomplete"), parts, exact=False, plain=True)


EARLY: Final[tuple[Fault, ...]] = (
    _early("refuse", "upstream_unavailable"),
    _early("status:500", "upstream_unavailable"),
    _early("status:429,retry-after=100", "upstream_rate_limited"),
    _early("status:401", "upstream_auth"),
    _early("status:404", "upstream_model_not_found"),
    _early("status:422", "mock_error"),
    _early("wrong-content-type", "upstream_protocol"),
    _early("hang-before-headers", "upstream_ttft_timeout"),
    _early("hang-before-first-token", "upstream_ttft_timeout"),
)
"""What ends a stream before it begins."""

KINDS: Final[tuple[Fault | _Draw, ...]] = (
    *(Fault(f"duplicate-frames:{every}", every=every, plain=True) for every in (1, 4)),
    _after("garbage:{n}", "upstream_protocol"),
    _long_line,
    _after(f"long-line:{TOO_LONG_LINE},after={{n}}", "upstream_protocol"),
    _after("hang-between-tokens:{n}", "upstream_idle_timeout"),
    _after("error-frame:{n}", "upstream_error"),
    _after("no-terminal:{n}", "upstream_incomplete"),
    Fault("no-done", ("failed", "upstream_incomplete")),
    Fault("keep-open"),
    _cut("cut-frames"),
    _cut("cut-in-frame"),
    _cut("cut-in-character", in_character=True),
    Fault("comments"),
    Fault("crlf"),
    Fault("cr"),
    Fault("bom"),
    Fault("gzip"),
    _cut_bytes,
    Fault("comments; crlf; gzip"),
    _after("bom; cr; cut-frames:{n}", "upstream_incomplete"),
)
"""Every other fault of the mock at least once, and a few together."""

ONCE: Final[tuple[Fault, ...]] = (
    Fault("refuse:first=1"),
    Fault("status:503,first=2"),
    Fault("status:429,retry-after=1,first=1"),
    Fault("cut-bytes:0,first=1", plain=True),
)
"""What a retry gets over; counted by prompt, so only where the request itself asks for it."""

_EARLY_SHARE: Final = 0.05
_SHARE: Final = 0.4
_DRIP: Final = Fault("slow-drip:50,8ms")
_DRIPPED_PARTS: Final = 40
"""Not for longer answers: it is six writes a frame."""


def draw_fault(random: Random, parts: int, *, once: bool) -> Fault:
    """Nothing for most; `once`: faults that only the first requests of a prompt meet may be drawn too."""
    share = random.random()
    if share < _EARLY_SHARE:
        return random.choice(EARLY)
    if share > _SHARE:
        return CLEAN
    if parts < _DRIPPED_PARTS and random.random() < 1 / len(KINDS):
        return _DRIP
    drawn = random.choice((*KINDS, *ONCE) if once else KINDS)
    return drawn if isinstance(drawn, Fault) else drawn(random, parts)
