"""The leases of this node's streams, kept while they have nothing to say (P3)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio

from headrace.engine.clock import Clock
from headrace.engine.relay import Relay
from headrace.errors import Fenced, HeadraceError, NotFound
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")

_SHARE = 0.3
"""Of a lease's time, until it is renewed: two renewals may be lost."""

_AT_ONCE = 100
"""Leases that are renewed together."""


class Leases:
    """Those of all relays."""

    def __init__(self, store: StreamStore, clock: Clock, seconds: float, relays: Mapping[str, Relay]) -> None:
        """`seconds` is a lease's time; `relays` is looked at anew each time."""
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._relays = relays
        self._problem: HeadraceError | None = None

    async def run(self) -> None:
        """Renew until cancelled; a lost lease ends its relay."""
        while True:
            await self._clock.sleep(self._seconds * _SHARE)
            # A relay's lease ends with its log; its provider may still be closing.
            relays = [relay for relay in self._relays.values() if relay.terminal is None]
            before, self._problem = self._problem, None
            for first in range(0, len(relays), _AT_ONCE):
                async with anyio.create_task_group() as tasks:
                    for relay in relays[first : first + _AT_ONCE]:
                        tasks.start_soon(self._renew, relay)
            if self._problem is not None and before is None:  # once for as long as it lasts
                log.warning("leases could not be renewed: %s", self._problem)

    async def _renew(self, relay: Relay) -> None:
        if relay.terminal is not None:
            return
        try:
            await self._store.renew(relay.lease, self._seconds)
        except (Fenced, NotFound) as error:
            relay.fail(error)
        except HeadraceError as error:
            self._problem = error
        except Exception:  # it would end every stream
            log.exception("stream %s: defect in renewing its lease", relay.id)
