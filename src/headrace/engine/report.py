"""A stream's end, told to the observers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from headrace.engine.clock import Clock
from headrace.engine.folding import folded
from headrace.engine.observer import Content, Ended, Observer
from headrace.engine.outcomes import shutdown
from headrace.engine.relay import Relay
from headrace.errors import NotFound
from headrace.events import Usage
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")


class Reporter:
    """Puts together what is known of an ended stream."""

    def __init__(self, store: StreamStore, clock: Clock, observers: Sequence[Observer], *, log_content: bool) -> None:
        """`log_content`: observers may have what was asked and answered (P36)."""
        self._store = store
        self._clock = clock
        self._observers = observers
        self._log_content = log_content

    async def tell(self, relay: Relay, request_id: str | None) -> None:
        """Let the observers know; what they make of it is not the stream's problem."""
        try:
            ended = await self._summary(relay, request_id)
            for observer in self._observers:
                observer.ended(ended)
        except Exception:
            log.exception("stream %s: its end could not be reported", relay.id)

    async def _summary(self, relay: Relay, request_id: str | None) -> Ended:
        start, measured = relay.job.start, relay.measurement
        records, size = await self._size(relay.id)
        return Ended(
            start=start,
            source=measured.source,
            upstream_model=relay.job.upstream_model,
            request_id=request_id,
            terminal=relay.terminal or shutdown(),
            at=self._clock.wall(),
            duration=self._clock.monotonic() - measured.began,
            ttft=measured.ttft,
            usage=relay.usage or Usage(start.input_tokens, 0, source="partial"),
            retries=measured.retries,
            readers=measured.readers,
            resumes=measured.resumes,
            records=records,
            bytes=size,
            content=await self._content(relay.id) if self._log_content else None,
        )

    async def _size(self, stream_id: str) -> tuple[int, int]:
        try:
            info = await self._store.status(stream_id)
        except NotFound:  # deleted while it ran
            return 0, 0
        return info.next_seq, info.bytes

    async def _content(self, stream_id: str) -> Content | None:
        try:
            answer = (await folded(self._store, stream_id)).answer()
            return Content(await self._store.request(stream_id), answer.text)
        except NotFound:
            return None
