"""Token counts that the upstream's end did not bring, and where they come from (P27)."""

from __future__ import annotations

import logging

import msgspec

from headrace.engine.folding import folded
from headrace.errors import HeadraceError
from headrace.events import Finished, StreamStart, Terminal, Usage
from headrace.stores.base import StreamStore
from headrace.transforms.accumulator import Accumulator

log = logging.getLogger("headrace.relay")


async def counted(store: StreamStore, start: StreamStart, terminal: Terminal) -> Usage:
    """The totals of a log that is about to end with `terminal`.

    Raises:
        HeadraceError: the log cannot be read.
    """
    try:
        return total(await folded(store, start.id), start, terminal)
    except HeadraceError:
        raise
    except Exception:  # a log that cannot be counted must not stay open for that
        log.exception("stream %s: its tokens cannot be counted", start.id)
        return Usage(start.input_tokens, 0, source="partial")


def total(accumulator: Accumulator, start: StreamStart, terminal: Terminal) -> Usage:
    """The last usage in a log, or an estimate from what is in it. Made only at the end, so it costs no token."""
    known = accumulator.usage or Usage(start.input_tokens, 0, source="estimated")
    if isinstance(terminal, Finished) and known.source == "provider":
        return known
    # What an upstream reports at its beginning or in between is not all of what it has written.
    return msgspec.structs.replace(
        known,
        output=max(known.output, accumulator.estimated_output_tokens()),
        source="estimated" if isinstance(terminal, Finished) else "partial",
    )
