"""A stream's end, told to the observer."""

from __future__ import annotations

import logging

import msgspec

from headrace.engine.clock import Clock
from headrace.engine.folding import folded
from headrace.engine.observer import Content, Ended, Observer
from headrace.engine.outcomes import shutdown
from headrace.engine.relay import Relay
from headrace.errors import HeadraceError, NotFound
from headrace.events import Usage
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")

_MOST_CONTENT = 1024 * 1024
"""Bytes of a long request that an observer gets."""


def end_of(relay: Relay, request_id: str | None, clock: Clock) -> Ended:
    """What a relay knows of the end of its stream, whatever has become of the log."""
    start, measured = relay.job.start, relay.measurement
    now = clock.monotonic()
    end = now if measured.ended is None else measured.ended
    return Ended(
        start=start,
        source=measured.source,
        upstream_model=relay.job.upstream_model,
        request_id=request_id,
        terminal=relay.terminal or shutdown(),
        at=clock.wall() - (now - end),
        duration=end - measured.began,
        ttft=measured.ttft,
        usage=relay.usage or Usage(start.input_tokens, 0, source="partial"),
        retries=measured.retries,
        readers=measured.readers,
        resumes=measured.resumes,
        records=relay.records,
    )


class Reporter:
    """Puts together what is known of an ended stream."""

    def __init__(self, store: StreamStore, observer: Observer, *, log_content: bool) -> None:
        """`log_content`: the observer may have what was asked and answered (P36)."""
        self._store = store
        self._observer = observer
        self._log_content = log_content

    async def tell(self, ended: Ended) -> None:
        """Let the observer know, with what the store has of the stream. Never raises."""
        size, content = await self._kept(ended.start.id)
        self._observer.ended(msgspec.structs.replace(ended, bytes=size, content=content))

    async def _kept(self, stream_id: str) -> tuple[int | None, Content | None]:
        """The log's size and, where that may be told, its content."""
        try:
            size = (await self._store.status(stream_id)).bytes
            return size, await self._content(stream_id) if self._log_content else None
        except NotFound:  # deleted while it ran
            return None, None
        except HeadraceError as error:
            log.warning("stream %s: its end is told without what is in its log: %s", stream_id, error)
            return None, None
        except Exception:
            log.exception("stream %s: its log cannot be read", stream_id)
            return None, None

    async def _content(self, stream_id: str) -> Content:
        answer = (await folded(self._store, stream_id)).answer()
        request = await self._store.request(stream_id)
        return Content(request if isinstance(request, bytes) else request.beginning(_MOST_CONTENT), answer.text)
