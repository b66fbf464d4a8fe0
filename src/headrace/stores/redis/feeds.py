"""All feeds of this node, and how they hear of what other nodes do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import anyio
import msgspec

from headrace.config.redis_url import RedisAddress
from headrace.errors import StoreError, StoreUnavailable
from headrace.events import Record
from headrace.stores.cancels import Cancels
from headrace.stores.redis.feed import Feed
from headrace.stores.redis.health import Watch
from headrace.stores.redis.keys import Names
from headrace.stores.redis.refusals import refused
from headrace.stores.redis.servers import Server, Servers

log = logging.getLogger("headrace.stores")

POLL: Final = 2.0
"""Seconds between two looks at all streams of which nothing was heard: so late may come what a lost message said."""

_GIVEN_UP = 60.0
"""Seconds after the end of a lease in which its producer may come back and go on: it is not forgotten before."""

_PAGE = 1000
_AT_ONCE = 200
"""Streams that are looked at together."""

decode_records = msgspec.json.Decoder(list[Record]).decode


class Feeds:
    """One feed per stream, for as long as somebody here needs it.

    A stream that this node produces needs no messages. Any other has a subscription, over one connection per server for
    all of them. A message may be lost, which costs time: the next one shows the gap, and so does the next look.
    """

    def __init__(
        self, address: RedisAddress, names: Names, node: str, now: Callable[[], float], patience: float
    ) -> None:
        """`node` is this node's own name, `now` gives Unix time, `patience` is for a server that is away."""
        self.servers = Servers(address, names.prefix, self._told)
        self.watch = Watch(self.servers, patience, self._is_back)
        self.cancels = Cancels()
        self._names = names
        self._now = now
        self._channel = names.node(node)
        self._feeds: dict[str, Feed] = {}
        self._by_channel: dict[str, Feed] = {}
        self._behind: dict[Feed, None] = {}
        self._work = anyio.Event()
        self._back = anyio.Event()
        self._trouble = False

    async def start(self) -> None:
        """Reach the servers, and listen to cancel requests. Raises `StoreError`."""
        await self.servers.start()
        await self._listen(self._channel)
        await self.servers.read(self._channel, "EXISTS", self._channel)  # answered after the subscription
        link = self.servers.at(self._channel).reads
        if not link.listens(self._channel):
            raise refused(link.name)

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look at quiet streams, and fetch what was not told, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._fetch)
            tasks.start_soon(self.watch.run, self._give_up)
            tasks.start_soon(self._hurry)
            while True:
                await sleep(POLL)
                await self._look_around()

    def get(self, stream_id: str) -> Feed | None:
        """The feed, if there is one."""
        return self._feeds.get(stream_id)

    def make(self, stream_id: str) -> Feed:
        """The feed of a stream that is produced here; a new one knows nothing."""
        return self._feeds.get(stream_id) or self._make(stream_id)

    async def open(self, stream_id: str) -> Feed:
        """The feed; a new one knows what the log holds now, and is told what comes. Raises `StoreError`."""
        feed = self._feeds.get(stream_id)
        if feed is None:
            feed = self._make(stream_id)
            await self._listen(feed.keys.meta)
            await self._look(feed)
        return feed

    def remove(self, stream_id: str) -> None:
        """The stream is gone: whoever waits for it hears that."""
        self.cancels.drop(stream_id)
        feed = self._feeds.get(stream_id)
        if feed is not None:
            self._drop(feed)
            feed.remove()

    def stop(self, feed: Feed, by: str) -> None:
        """Somebody asks this node to stop a stream; only the first time counts."""
        if feed.epoch and not feed.cancelled:
            feed.cancelled = True
            self.cancels.put(feed.keys.id, by)

    def close(self) -> None:
        """Free everything; iterations and waits end."""
        for stream_id in tuple(self._feeds):
            self.remove(stream_id)
        self.cancels.close()
        self.servers.close()

    def _make(self, stream_id: str) -> Feed:
        feed = Feed(self._names.stream(stream_id))
        self._feeds[stream_id] = self._by_channel[feed.keys.meta] = feed
        return feed

    def _drop(self, feed: Feed) -> None:
        del self._feeds[feed.keys.id]
        del self._by_channel[feed.keys.meta]
        self._behind.pop(feed, None)
        self.servers.at(feed.keys.meta).reads.ignore(feed.keys.meta)

    async def _listen(self, channel: str) -> None:
        link = self.servers.at(channel).reads
        await link.connected()
        if not link.listens(channel):
            link.listen(channel)

    def _told(self, channel: str, message: bytes) -> None:
        """What a server says on a channel."""
        if channel == self._channel:
            stream_id, _, by = message.decode().partition("\n")
            feed = self._feeds.get(stream_id)
            if feed is not None:
                self.stop(feed, by)
            return
        feed = self._by_channel.get(channel)
        if feed is None:
            return
        if message == b"gone":
            self.remove(feed.keys.id)
            return
        try:
            if message[:1] == b"[":
                feed.add(decode_records(message), len(message))
            else:
                feed.learn(int(message), ended=False)
        except ValueError:  # msgspec's errors are; another release writes something else, and the log has it anyhow
            log.debug("stream %s: a message that is none of ours", feed.keys.id)
        self._note(feed)

    def _note(self, feed: Feed) -> None:
        if feed.behind:
            self._behind[feed] = None
            self._work.set()

    async def _fetch(self) -> None:
        """Read for followers what they were not told."""
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            for feed in tuple(self._behind):
                self._behind.pop(feed, None)
                await self._safely(self._catch_up, (feed,))

    async def _catch_up(self, feed: Feed) -> None:
        while feed.behind:
            start = f"{feed.told + 1}-0"
            entries: list[Any] = await self.servers.read(
                feed.keys.log, "XRANGE", feed.keys.log, start, "+", "COUNT", _PAGE
            )
            if not entries:
                return
            feed.fill(decode_records(json_of(entries)))

    def _is_back(self) -> None:
        self._back.set()

    async def _hurry(self) -> None:
        """See what was missed while a server was away."""
        while True:
            await self._back.wait()
            self._back = anyio.Event()
            await self._safely(self._listen, (self._channel,))
            await self._look_at([feed for feed in self._feeds.values() if not feed.ended])

    def _give_up(self, server: Server) -> None:
        """Let go of those who wait for a server that stays away; writers know by themselves when to."""
        for feed in tuple(self._feeds.values()):
            if feed.wanted and self.servers.at(feed.keys.meta) is server:
                feed.give_up(server.refusal())

    async def _look_around(self) -> None:
        quiet: list[Feed] = []
        abandoned = self._now() - _GIVEN_UP
        for feed in tuple(self._feeds.values()):
            if feed.epoch and feed.held_until < abandoned:
                feed.epoch = 0  # its producer has gone without ending it
            if not (feed.wanted or feed.epoch or feed.used):
                self._drop(feed)
                continue
            feed.used = False
            if feed.quiet and not feed.ended:
                quiet.append(feed)
            feed.quiet = True
        await self._safely(self._listen, (self._channel,))
        await self._look_at(quiet)

    async def _look_at(self, feeds: Sequence[Feed]) -> None:
        for first in range(0, len(feeds), _AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for feed in feeds[first : first + _AT_ONCE]:
                    tasks.start_soon(self._safely, self._look, (feed,))

    async def _safely(self, work: Callable[..., Awaitable[None]], arguments: Iterable[object]) -> None:
        """Streams are looked at again in a while; what is wrong is told once, and an outage by `Watch`."""
        try:
            await work(*arguments)
        except StoreUnavailable:
            pass
        except StoreError as error:
            if not self._trouble:
                log.warning("streams of other nodes cannot be followed: %s", error)
            self._trouble = True
        except Exception:  # it would end every stream of this node
            log.exception("defect in following streams of other nodes")
        else:
            self._trouble = False

    async def _look(self, feed: Feed) -> None:
        """Ask how far the log is, and listen where that is not done (any more)."""
        meta, epoch = feed.keys.meta, feed.epoch
        if not epoch:
            await self._listen(meta)
        found = await self.servers.read(meta, "HMGET", meta, "next", "state", "epoch", "cancel")
        if feed.epoch != epoch:
            return  # this node has begun or ended to produce it meanwhile
        if found[0] is None:
            self.remove(feed.keys.id)
            return
        if epoch and int(found[2]) != epoch:
            feed.epoch = 0  # somebody else has taken it over, so listen, and look again
            await self._look(feed)
            return
        feed.learn(int(found[0]), ended=found[1] != b"running")
        if found[3] is not None:
            self.stop(feed, found[3].decode())
        self._note(feed)


def json_of(entries: list[Any]) -> bytes:
    """The records of a reply to XRANGE as a JSON list."""
    return b"[" + b",".join([fields[1] for _, fields in entries]) + b"]"
