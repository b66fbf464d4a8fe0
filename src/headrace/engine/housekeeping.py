"""What can wait, done by a task of the engine's for as long as it runs."""

from __future__ import annotations

import logging

import anyio.lowlevel

from headrace.engine.clock import Clock
from headrace.engine.unstored import Unstored
from headrace.errors import HeadraceError
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")

TIDYING = 1.0
"""Seconds until the store is asked again whether there is something to tidy."""

SWEEPING = 1.0
"""Seconds between two looks at the streams that are not to be stored."""


async def sweep(unstored: Unstored, clock: Clock) -> None:
    """One look at all streams that are not to be stored, again and again."""
    while True:
        await clock.sleep(SWEEPING)
        await unstored.sweep()


async def tidy(store: StreamStore, clock: Clock) -> None:
    """Let the store do what can wait, a piece at a time: everybody else has a turn between two."""
    said: type[Exception] | None = None  # what is wrong is said once, for as long as it is
    while True:
        try:
            more = await store.tidy()
        except Exception as error:  # noqa: BLE001 - it would end every stream, and none of them needs this
            if type(error) is not said:
                _say(error)
            said = type(error)
        else:
            said = None
            if more:
                await anyio.lowlevel.checkpoint()
                continue
        await clock.sleep(TIDYING)


def _say(error: Exception) -> None:
    if isinstance(error, HeadraceError):
        log.warning("the store could not be tidied: %s", error)
    else:
        log.error("defect in the store's tidying", exc_info=error)
