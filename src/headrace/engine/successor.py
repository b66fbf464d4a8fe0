"""The streams of nodes that have died, going on here: which of them may, and what their relays are given to do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from headrace.engine import continuation
from headrace.engine.observer import Source
from headrace.engine.order import Route, Router
from headrace.engine.relay import Job
from headrace.errors import BadRequest, HeadraceError, LogFull, RateLimited
from headrace.events import StreamStart
from headrace.policy import disconnect
from headrace.stores.base import Lease, StreamStore
from headrace.transforms.seam import Draft

log = logging.getLogger("headrace.engine")

Adopt = Callable[[Job, Lease, Source], Awaitable[None]]
"""Lets a relay of this node go on with a stream.

Raises `RateLimited`, `LogFull`, or what the store raises; then there is no relay.
"""


class Successor:
    """Goes on where that is wanted (`on_producer_loss: continue`) and possible."""

    def __init__(self, store: StreamStore, router: Router | None, adopt: Adopt) -> None:
        """Without `router` nothing goes on."""
        self._store = store
        self._router = router
        self._adopt = adopt
        self.retired = False
        """Whether the server stops: what should go on is left to others from then on."""

    def route(self, start: StreamStart) -> Route | None:
        """Where the stream's model is served by this node's configuration."""
        return self._router.route(start.model) if self._router is not None else None

    def wants(self, start: StreamStart) -> bool:
        """Whether the stream should go on, whoever does it."""
        route = self.route(start)
        return route is not None and route.settings.on_producer_loss == "continue"

    async def goes_on(self, lease: Lease, draft: Draft) -> bool:
        """Go on with a stream that this node holds. When it does not, the stream needs its end."""
        start = draft.start
        route = self.route(start) if start is not None else None
        if start is None or route is None or self.retired or lease.cancel is not None or not self.wants(start):
            return False
        try:
            await self._adopt(await self._job(lease, draft, start, route), lease, route.source)
        except (BadRequest, RateLimited, LogFull) as error:
            log.info("stream %s: its producer is gone, and it is not continued: %s", lease.id, error)
            return False
        except HeadraceError:
            raise
        except Exception:  # a stream that cannot go on must not stay open for that
            log.exception("stream %s: its producer is gone, and it cannot be continued", lease.id)
            return False
        log.info("stream %s: its producer is gone; it is continued", lease.id)
        return True

    async def _job(self, lease: Lease, draft: Draft, start: StreamStart, route: Route) -> Job:
        asked = await continuation.request_of(draft, await self._store.request(lease.id))
        route.provider.check(asked)
        # Where the log has nothing of an answer, what comes is the answer as it is.
        provider = route.provider if draft.step is None else continuation.Continuing(route.provider, draft)
        opening = continuation.opening(draft)
        # Its readers may be on any node, so none of them leaving here means anything.
        return Job(start, asked, provider, route.upstream_model, disconnect.CONTINUE, route.settings, opening)
