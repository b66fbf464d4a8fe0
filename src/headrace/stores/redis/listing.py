"""Which streams there are: by owner, and those that run. Both may name streams that are gone, until somebody looks."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from headrace.stores.base import StreamInfo, StreamState
from headrace.stores.redis.feed import not_found
from headrace.stores.redis.keys import Names
from headrace.stores.redis.scripts import LIST
from headrace.stores.redis.servers import Servers

_KEPT = 30 * 86_400
"""Seconds beside the retention that an owner who makes no more streams stays known: no stream runs that long."""

_PAGE = 50
"""Entries of an owner's list that are read at once: of all its parts together."""

_LEAST = 8
"""The same of one part."""

_LOOKED_AT = 20
"""Entries of one owner that are looked at in one go: of those that are gone, all but a few are found in time."""

_FIELDS = ("owner", "state", "next", "created", "ended", "bytes")


class Listing:
    """Reads and cleans the two indexes; a stream's own hash is what counts."""

    def __init__(self, servers: Servers, names: Names, retention: float) -> None:
        """`retention` is in seconds."""
        self._servers = servers
        self._names = names
        self._ttl = int(retention) + _KEPT
        self._untidy: dict[str, None] = {}

    async def enter(self, owner: str, stream_id: str) -> None:
        """A stream was made."""
        key = self._names.owner_of(owner, stream_id)
        await LIST.run(self._servers, (key,), stream_id, self._ttl)
        self._untidy[key] = None

    async def leave(self, owner: str, stream_id: str) -> None:
        """A stream was deleted."""
        key = self._names.owner_of(owner, stream_id)
        await self._servers.write(key, "ZREM", key, stream_id)

    async def runs(self, stream_id: str, until: float) -> None:
        """A stream has a lease until then, in Unix time."""
        key = self._names.running_of(stream_id)
        await self._servers.write(key, "ZADD", key, str(until), stream_id)

    async def ended(self, stream_id: str) -> None:
        """A stream does not run any more."""
        key = self._names.running_of(stream_id)
        await self._servers.write(key, "ZREM", key, stream_id)

    async def info(self, stream_id: str) -> StreamInfo | None:
        """What is known of a stream; None where there is none."""
        meta = self._names.stream(stream_id).meta
        return _info(stream_id, await self._servers.read(meta, "HMGET", meta, *_FIELDS))

    async def page(self, owner: str, state: StreamState | None, before: str | None, limit: int) -> Sequence[StreamInfo]:
        """See `StreamStore.list`."""
        page: list[StreamInfo] = []
        async for stream_id in self._newest(owner, before):
            if len(page) >= limit:
                break
            info = await self.info(stream_id)
            if info is None or info.owner != owner:
                await self.leave(owner, stream_id)
            elif state is None or info.state == state:
                page.append(info)
        return page

    async def _newest(self, owner: str, before: str | None) -> AsyncGenerator[str]:
        """The owner's streams: those of all parts, newest first."""
        keys = self._names.owner(owner)
        ends = ["+inf"] * len(keys) if before is None else await self._ends(owner, before)
        most = max(_PAGE // len(keys), _LEAST)
        pages = await asyncio.gather(*(self._older(key, end, most) for key, end in zip(keys, ends, strict=True)))
        full = [len(page) == most for page in pages]  # then there may be more
        newest = [(-page[-1][1], number) for number, page in enumerate(pages) if page]
        heapq.heapify(newest)
        while newest:
            _, number = heapq.heappop(newest)
            page = pages[number]
            stream_id, score = page.pop()
            yield stream_id
            if not page and full[number]:
                page += await self._older(keys[number], f"({score:.0f}", most)
                full[number] = len(page) == most
            if page:
                heapq.heappush(newest, (-page[-1][1], number))

    async def _ends(self, owner: str, before: str) -> list[str]:
        """Where each part goes on after `before`; of streams made at one time those of the first part come first."""
        key = self._names.owner_of(owner, before)
        score = await self._servers.read(key, "ZSCORE", key, before)
        if score is None:
            raise not_found(before)
        part = self._names.part(before)
        return [f"{'(' if number <= part else ''}{score:.0f}" for number in range(len(self._names.owner(owner)))]

    async def _older(self, key: str, end: str, most: int) -> list[tuple[str, float]]:
        """At most so many streams of a part with their times, the newest last."""
        entries: list[Any] = await self._servers.read(
            key, "ZRANGE", key, end, "-inf", "BYSCORE", "REV", "LIMIT", 0, most, "WITHSCORES"
        )
        return [(member.decode(), score) for member, score in reversed(entries)]

    async def abandoned(self, now: float, limit: int) -> Sequence[StreamInfo]:
        """Streams that run and whose lease has run out; `now` in Unix time.

        An entry may be early, because appends renew a lease and not its entry: it is put right, or `limit` of those
        would hide all others. Of a server that was away, none is found until producers had the time to come back.
        """
        served = filter(self._servers.serves, self._names.running())
        parts: list[list[bytes]] = await asyncio.gather(*(self._until(key, now, limit) for key in served))
        entries = [entry.decode() for part in parts for entry in part]
        found: list[StreamInfo] = []
        for stream_id in random.sample(entries, min(limit, len(entries))):
            keys = self._names.stream(stream_id)
            if not self._servers.serves(keys.meta):
                continue
            info = await self.info(stream_id)
            if info is None or info.state != "running":
                await self.ended(stream_id)
                continue
            left: int = await self._servers.read(keys.lease, "PTTL", keys.lease)
            if left > 0:
                running = self._names.running_of(stream_id)
                await self._servers.write(running, "ZADD", running, "XX", str(now + left / 1000), stream_id)
            elif self._servers.at(keys.meta).back_for * 1000 >= int(
                await self._servers.read(keys.meta, "HGET", keys.meta, "ttl") or 0
            ):
                found.append(info)
        return found

    async def _until(self, running: str, now: float, limit: int) -> list[bytes]:
        return await self._servers.read(running, "ZRANGE", running, "-inf", str(now), "BYSCORE", "LIMIT", 0, limit)

    async def tidy(self) -> bool:
        """Take out some entries of one owner whose streams are gone; says whether there is more to do."""
        key = self._untidied()
        if key is None:
            return False
        del self._untidy[key]
        entries: list[bytes] = await self._servers.read(key, "ZRANDMEMBER", key, _LOOKED_AT)
        gone = [entry for entry in entries if await self._is_gone(entry.decode())]
        if gone:
            await self._servers.write(key, "ZREM", key, *gone)
            self._untidy[key] = None
        return self._untidied() is not None

    def _untidied(self) -> str | None:
        """A part of an owner's list in which entries may be of no stream; None while the servers of all are away."""
        return next(filter(self._servers.serves, self._untidy), None)

    async def _is_gone(self, stream_id: str) -> bool:
        return self._servers.serves(self._names.stream(stream_id).meta) and await self.info(stream_id) is None


def _info(stream_id: str, found: list[bytes | None]) -> StreamInfo | None:
    owner, state, count, created, ended, size = found
    if owner is None or state is None:
        return None
    return StreamInfo(
        id=stream_id,
        owner=owner.decode(),
        state=state.decode(),  # pyright: ignore[reportArgumentType] - what `FINISH` was given
        next_seq=int(count or 0),
        created_ms=int(created or 0),
        ended_ms=None if ended is None else int(ended),
        bytes=int(size or 0),
    )
