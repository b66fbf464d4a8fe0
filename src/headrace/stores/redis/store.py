"""`RedisStore`: the protocol of `stores.base`, as commands."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from headrace.bodies import Body, Pieces
from headrace.config import Secret
from headrace.config.redis_url import parse_redis_url
from headrace.errors import (
    ConfigError,
    Fenced,
    InternalError,
    LeaseHeld,
    LogFull,
    NotFound,
    Overloaded,
    SequenceGap,
    StoreError,
    StoreUnavailable,
)
from headrace.events import Record
from headrace.stores.base import Follower, Lease, StreamInfo, StreamState, state_after
from headrace.stores.redis import scripts
from headrace.stores.redis.connection import Reply
from headrace.stores.redis.feed import Feed, not_found
from headrace.stores.redis.feeds import Feeds, decode_records, json_of
from headrace.stores.redis.keys import Keys, Names
from headrace.stores.redis.listing import Listing

log = logging.getLogger("headrace.stores")

_encode = msgspec.json.Encoder().encode
_NOT_ENCODABLE = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)


class RedisStore:
    """Keeps streams in Redis 7, Valkey, or a cluster of either, for any number of nodes.

    Where the protocol leaves a choice, it is as in `MemoryStore`, and:

    - `StreamInfo.bytes` is the size of the records' JSON.
    - There is no limit for all logs: that is the server's `maxmemory`. When it is reached, appending is `LogFull` and
      a new stream `Overloaded`; a stream can always end.
    - Cancel requests go to the node that produces the stream.
    - A running stream whose producer is gone stays until somebody takes it over. `abandoned` goes by this node's clock:
      where the nodes' clocks differ, it finds streams so much later, and never one whose producer is alive.
    - That another node has deleted a running stream is known to its producing node two seconds later.
    """

    def __init__(
        self,
        url: Secret,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        prefix: str = "headrace:",
        retention: float = 3600,
        max_stream_bytes: int = 64 * 2**20,
        patience: float = 30.0,
    ) -> None:
        """`now` is Unix time, in seconds like `sleep` and `retention`; all keys begin with `prefix`, without braces.

        `patience`: seconds for which readers wait for a server that is away.

        Raises:
            ConfigError: the address cannot be read.
        """
        try:
            address = parse_redis_url(url.reveal())
        except ValueError as error:
            raise ConfigError(f"redis_url: {error}") from None
        self.name = address.name
        """Where it is, without credentials."""
        self._now = now
        self._sleep = sleep
        self._retention = retention
        self._max_stream_bytes = max_stream_bytes
        self._node = secrets.token_hex(8)
        self._names = Names(prefix)
        self._feeds = Feeds(address, self._names, self._node, now, patience)
        self._servers = self._feeds.servers
        self._listing = Listing(self._servers, self._names, retention)

    async def start(self) -> None:
        """Reach the server, and see that it is the right one."""
        try:
            await self._feeds.start()
            if self._servers.clustered:
                self._names.spread()
            await self.release("start", "")  # of nobody: whether scripts may run
        except StoreError as error:
            raise ConfigError(f"redis_url: {error}") from None
        log.info("streams are kept in Redis at %s", self.name)
        for evicting in await self._servers.evicting():
            log.warning("Redis at %s throws parts of streams away when it is full: set noeviction", evicting)

    async def run(self) -> None:
        """Follow what other nodes do; never ends by itself."""
        await self._feeds.run(self._sleep)

    @property
    def problem(self) -> StoreError | None:
        """As was found at the last look, a second ago at most."""
        return self._feeds.watch.problem

    def serves(self, stream_id: str) -> bool:
        """Whether the servers of its log and of its part of the indexes serve."""
        keys = (self._keys(stream_id).meta, self._names.running_of(stream_id))
        return all(map(self._servers.serves, keys))

    async def recovered(self, stream_id: str) -> None:
        """Return once the stream's server serves again."""
        await self._feeds.watch.recovered(self._keys(stream_id).meta)

    async def acquire(self, stream_id: str, owner: str, request: Body, ttl: float) -> Lease:
        """Create the stream, or take it over from a producer whose lease has run out."""
        keys = self._names.stream(stream_id)
        holder = secrets.token_hex(8)
        asked_at = self._now()
        said = (owner, _ms(ttl), _ms(asked_at), holder, self._node)
        body = b"".join(request.parts) if isinstance(request, Pieces) else request
        try:
            # First, so that there is never a stream that is out of sight.
            await self._listing.runs(stream_id, asked_at + ttl)
            reply: list[Any] = await scripts.ACQUIRE.run(self._servers, keys.all, *said, body)
        except LogFull as error:
            reply = await scripts.TAKE.run(self._servers, keys.all, *said)
            if reply[0] == scripts.FULL:
                raise Overloaded(error.message, retry_after=1) from None
        lease = Lease(stream_id, 0, 0)
        if reply[0] in (scripts.GONE, scripts.FENCED, scripts.HELD):
            raise self._refusal(reply, lease)
        by = reply[2].decode() if len(reply) > 2 and reply[2] is not None else None
        lease = Lease(stream_id, int(reply[0]), reply[1], by)
        feed = self._feeds.make(stream_id)
        feed.lead(lease.epoch, lease.next_seq, ttl, asked_at)
        if by is not None:
            self._feeds.stop(feed, by)
        try:
            await self._listing.enter(owner, stream_id)
        except LogFull:
            if len(reply) == 2:  # one that was taken over has been entered before
                raise
        return lease

    async def renew(self, lease: Lease, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds."""
        keys = self._keys(lease.id)
        asked_at = self._now()
        reply = await scripts.RENEW.run(self._servers, keys.renew, lease.epoch, _ms(ttl))
        feed = self._checked(reply, lease)
        feed.ttl = ttl
        feed.hold(lease.epoch, asked_at)
        with suppress(StoreError):  # the lease counts; this says only when somebody should look for it
            await self._listing.runs(lease.id, asked_at + ttl)

    async def append(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> None:
        """Append what the log does not have yet."""
        if records and records[-1].seq != first_seq + len(records) - 1:
            raise SequenceGap(f"Stream {lease.id}: these records have other seqs than from {first_seq} on.")
        encoded = [_json(record) for record in records]
        keys = self._keys(lease.id).append
        asked_at = self._now()

        def step() -> Awaitable[Reply]:
            return scripts.APPEND.run(self._servers, keys, lease.epoch, first_seq, self._max_stream_bytes, *encoded)

        reply = await step()
        if type(reply) is not int and await self._made_up_for(reply, lease, first_seq):
            reply = await step()
        feed = self._checked(reply, lease)
        feed.hold(lease.epoch, asked_at)
        if records:
            feed.add(records, sum(map(len, encoded)))

    def append_now(self, lease: Lease, first_seq: int, records: Sequence[Record]) -> bool:
        """There is always something to wait for."""
        return False

    async def finish(self, lease: Lease, record: Record) -> None:
        """Append the terminal record and close the log, in one step."""
        terminal = record.terminal
        if terminal is None:
            raise InternalError("The record that ends a stream holds no terminal event.")
        data = _json(record)
        keys = self._keys(lease.id).all

        def step() -> Awaitable[Reply]:
            said = (lease.epoch, record.seq, state_after(terminal), _ms(self._now()), _ms(self._retention), data)
            return scripts.FINISH.run(self._servers, keys, *said)

        reply = await step()
        if await self._made_up_for(reply, lease, record.seq):
            reply = await step()
        if type(reply) is not int and reply[0] == scripts.ENDED:
            self._feeds.make(lease.id).learn(reply[1], ended=True)
            return
        feed = self._checked(reply, lease)
        self._feeds.cancels.drop(lease.id)
        feed.add((record,), len(data))
        with suppress(StoreError):  # whoever looks for abandoned streams sees that it has ended
            await self._listing.ended(lease.id)

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        """Records with `seq > after` in order, at most `limit`."""
        start = max(after + 1, 0)
        feed = self._feeds.get(stream_id)
        if feed is not None:
            feed.used = True
            known = feed.newest(start, limit, self._now())
            if known is not None:
                return known
        keys = self._names.stream(stream_id) if feed is None else feed.keys
        entries: list[Any] = await self._servers.read(
            keys.log, "XRANGE", keys.log, f"{start + 1}-0", "+", "COUNT", limit
        )
        if not entries:
            if not await self._servers.read(keys.meta, "EXISTS", keys.meta):
                raise not_found(stream_id)
            return ()
        return decode_records(json_of(entries))

    async def wait(self, stream_id: str, after: int) -> None:
        """Suspend until there is something to read after `after`, or nothing will ever be; holds no connection."""
        await (await self._feeds.open(stream_id)).wait(after)

    def follow(self, stream_id: str, after: int, follower: Follower) -> Callable[[], None] | None:
        """Tell of what is appended; of what other nodes append, once this one listens because somebody waited."""
        feed = self._feeds.get(stream_id)
        return None if feed is None else feed.follow(after, follower)

    async def status(self, stream_id: str) -> StreamInfo:
        """What is known of the stream."""
        info = await self._listing.info(stream_id)
        if info is None:
            raise not_found(stream_id)
        return info

    async def request(self, stream_id: str) -> Body:
        """The request that created the stream."""
        key = self._names.stream(stream_id).request
        found: bytes | None = await self._servers.read(key, "GET", key)
        if found is None:
            raise not_found(stream_id)
        return found

    async def list(self, owner: str, state: StreamState | None, before: str | None, limit: int) -> Sequence[StreamInfo]:
        """The owner's streams, newest first."""
        return await self._listing.page(owner, state, before, limit)

    async def delete(self, stream_id: str) -> None:
        """Remove the stream, running or not; its producer's next call raises `NotFound`."""
        owner: Any = await scripts.DELETE.run(self._servers, self._names.stream(stream_id).all)
        self._feeds.remove(stream_id)
        if type(owner) is list:
            raise not_found(stream_id)
        await self._listing.leave(owner.decode(), stream_id)
        await self._listing.ended(stream_id)

    async def claim(self, name: str, value: str, ttl: float) -> str:
        """Set `name` if it is free and return the value that holds."""
        key = self._names.claim(name)
        held: bytes | None = await self._servers.write(key, "SET", key, value, "NX", "GET", "PX", _ms(ttl))
        return value if held is None else held.decode()

    async def claimed(self, name: str) -> str | None:
        """The value that holds `name`."""
        key = self._names.claim(name)
        held: bytes | None = await self._servers.read(key, "GET", key)
        return None if held is None else held.decode()

    async def extend(self, name: str, value: str, ttl: float) -> None:
        """Keep a claim for `ttl` seconds from now."""
        await scripts.EXTEND.run(self._servers, (self._names.claim(name),), value, _ms(ttl))

    async def release(self, name: str, value: str) -> None:
        """Free a claim if it is this value's."""
        await scripts.RELEASE.run(self._servers, (self._names.claim(name),), value)

    async def request_cancel(self, stream_id: str, by: str) -> None:
        """Ask the producer to stop: it gets a message, and if that is lost, sees it when it looks."""
        reply: list[bytes] = await scripts.CANCEL.run(self._servers, (self._keys(stream_id).meta,), by)
        if reply[0] == scripts.GONE:
            raise not_found(stream_id)
        if reply[0] == scripts.ENDED:
            return
        node, first = (each.decode() for each in reply)
        channel = self._names.node(node)
        with suppress(StoreUnavailable):  # where the channel is; the producer is told when it appends or renews
            await self._servers.write(channel, "SPUBLISH", channel, f"{stream_id}\n{first}")

    def cancellations(self) -> AsyncIterator[tuple[str, str]]:
        """Cancel requests for streams of this node, those from before the iteration included; `close` ends it."""
        return self._feeds.cancels

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        """Running streams whose lease has run out: one command where there is none, 16 in a cluster."""
        return await self._listing.abandoned(self._now(), limit)

    async def tidy(self) -> bool:
        """Take entries of streams that have expired out of the owners' lists; the server removes everything else."""
        return await self._listing.tidy()

    async def close(self) -> None:
        """Let go of all connections: readers that wait wake up to `NotFound`, the iteration of cancellations ends."""
        self._feeds.close()

    def _keys(self, stream_id: str) -> Keys:
        feed = self._feeds.get(stream_id)
        return self._names.stream(stream_id) if feed is None else feed.keys

    def _checked(self, reply: Reply, lease: Lease) -> Feed:
        """The feed of a stream for which a script did what it was asked; raises what it refused with."""
        if type(reply) is int:
            return self._feeds.make(lease.id)
        if type(reply[0]) is not int:
            raise self._refusal(reply, lease)
        feed = self._feeds.make(lease.id)
        if reply[1] is not None:
            feed.epoch = lease.epoch
            self._feeds.stop(feed, reply[1].decode())
        return feed

    async def _made_up_for(self, reply: Reply, lease: Lease, next_seq: int) -> bool:
        """Whether a server that said `gap` has been given again what it had acknowledged to this very lease.

        It was a replica then that had not been sent all. Readers may have seen that, and it is still known here.
        """
        if type(reply) is int or reply[0] != scripts.GAP:
            return False
        feed = self._feeds.get(lease.id)
        if feed is None or feed.epoch != lease.epoch or feed.next != next_seq:
            return False
        lost = feed.since(reply[1])
        if not lost:
            return False
        encoded = [_json(record) for record in lost]
        again = await scripts.APPEND.run(
            self._servers, feed.keys.append, lease.epoch, lost[0].seq, self._max_stream_bytes, *encoded
        )
        log.warning("stream %s: its server had lost %d records, which are appended again", lease.id, len(lost))
        return type(again) is int or type(again[0]) is int

    def _refusal(self, reply: Sequence[Any], lease: Lease) -> NotFound | StoreError:
        word, stream_id = reply[0], lease.id
        feed = self._feeds.get(stream_id)
        if word == scripts.GONE:
            if lease.epoch:
                self._feeds.remove(stream_id)
            return not_found(stream_id)
        if word == scripts.FENCED:
            if feed is not None and feed.epoch == lease.epoch:
                feed.epoch = 0
                feed.quiet = True  # to be looked at soon: from now on another node appends
            if reply[1] == b"running":
                return Fenced(f"Another producer has taken stream {stream_id} over.")
            return Fenced(f"Stream {stream_id} has ended.")
        if word == scripts.HELD:
            return LeaseHeld(f"Another producer holds stream {stream_id}.", retry_after=reply[1] / 1000)
        if word == scripts.GAP:
            return SequenceGap(f"Stream {stream_id} has {reply[1]} records; these cannot follow.")
        text = f"The stream has reached {self._max_stream_bytes} bytes, its limit (max_stream_log_bytes)."
        return LogFull(text, retryable=False)


def _json(record: Record) -> bytes:
    try:
        return _encode(record)
    except _NOT_ENCODABLE:
        raise StoreError("The model server sent what cannot be kept as JSON.", retryable=False) from None


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
