"""Idempotency keys: the same key and body joins the stream that the first request made (P10)."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import msgspec

from headrace.bodies import Cut, LongBody
from headrace.engine.clock import Clock
from headrace.engine.measurement import says
from headrace.engine.outcomes import said_again
from headrace.engine.subscription import BATCH
from headrace.errors import HeadraceError, IdempotencyKeyReused, NotFound
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")

T = TypeVar("T")

POLL = 0.2
"""Seconds between two looks for a stream that another node is about to make."""
MARGIN = 1.0
"""Seconds beyond a lease in which a stream that is about to be made is waited for."""

_STEP_BYTES = 16 * 1024
_canonical = msgspec.json.Encoder(order="sorted").encode


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A caller's key, in its scope: owner, route and key."""

    name: str
    digest: str
    """SHA-256 of the decoded JSON body with sorted keys, `stream` included."""

    @classmethod
    def of(cls, owner: str, route: str, key: str, body: bytes) -> IdempotencyKey:
        """The key of one request; `body` must be valid JSON."""
        return cls(claim_name(owner, route, key), hashlib.sha256(_canonical_value(body)).hexdigest())

    def claim(self, stream_id: str) -> str:
        """The value that a claim of this key holds."""
        return f"{stream_id}:{self.digest}"


def digest_of_long(body: LongBody) -> Generator[None, None, str]:
    """The digest of a long body, in steps. Raises `NOT_JSON`."""
    digest = hashlib.sha256()
    size = 0
    fields = msgspec.json.decode(body.head, type=dict[str, msgspec.Raw])
    for number, name in enumerate(sorted(fields)):
        cut = body.cuts.get(name)
        value = (_canonical_value(fields[name]),) if cut is None else _canonical_pieces(cut)
        for part in itertools.chain((b"," if number else b"{", _canonical(name), b":"), value):
            for piece in body.restored(part, _canonical_text):
                digest.update(piece)
                size += len(piece)
                if size >= _STEP_BYTES:
                    size = 0
                    yield
    digest.update(b"}" if fields else b"{}")
    return digest.hexdigest()


def _canonical_pieces(cut: Cut) -> Iterator[bytes]:
    if cut.opening == b"{":  # the names of all of it have one order
        yield _canonical_value(b"".join(cut.whole()))
        return
    for number, run in enumerate(cut.lists()):
        yield (b"," if number else b"[") + _canonical_value(run)[1:-1]
    yield b"]"


def _canonical_value(data: bytes | msgspec.Raw) -> bytes:
    value: Any = msgspec.json.decode(data)
    return _canonical(value)


def _canonical_text(literal: bytes) -> bytes:
    """What is between the quotes of a string, as it is written here."""
    return _canonical_value(b'"%b"' % literal)[1:-1]


def claim_name(owner: str, route: str, key: str) -> str:
    """The name under which the store holds the claim; owner and key cannot contain the separator's newline."""
    return f"idempotency\n{owner}\n{route}\n{key}"


def claimed_stream(value: str) -> tuple[str, str]:
    """Stream id and body digest out of a claim's value."""
    stream_id, _, digest = value.partition(":")
    return stream_id, digest


class KeyTaken(Exception):
    """Making the stream took so long that its claim has run out, and another request has the key."""


class Claims:
    """Which stream holds which key: one, however many nodes are asked for it at the same time.

    A claim comes first, and holds for as long as a lease; the stream comes next; then the claim gets its long life, and
    a second claim says that the stream was there. So the claim of a stream that is not there is one of a node that is
    about to make it, or has died before it could: that is waited for. Or of a stream that is gone again: that is freed.
    """

    def __init__(self, store: StreamStore, clock: Clock, lease_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease_seconds
        self._opening: dict[str, anyio.Event] = {}
        """Streams that may hold a key already, and are not in the store yet."""

    @contextmanager
    def opening(self, stream_id: str) -> Generator[None]:
        """While a stream is being made: whoever meets its claim waits until it is there, or is not."""
        opened = self._opening[stream_id] = anyio.Event()
        try:
            yield
        finally:
            del self._opening[stream_id]
            opened.set()

    async def take(
        self, key: IdempotencyKey, stream_id: str, attach: Callable[[str], Awaitable[T]]
    ) -> tuple[str, T] | None:
        """Take a key for a stream; None when it is taken, otherwise the stream that holds it, and `attach` of that.

        It is taken for as long as a lease: see `hold`. `attach` raises `NotFound` for a stream that is not there.

        Raises:
            IdempotencyKeyReused: it is held with another body.
        """
        value = key.claim(stream_id)
        met, until = "", 0.0
        while True:
            held = await self._store.claim(key.name, value, self._lease)
            if held == value:
                return None
            if held != met:
                met, until = held, self._clock.monotonic() + self._lease + MARGIN
            other, digest = claimed_stream(held)
            opening = self._opening.get(other)
            try:
                if await self._begins_anew(other):
                    await self._store.release(key.name, held)
                elif digest != key.digest:
                    raise IdempotencyKeyReused("This Idempotency-Key was used with another body; use a new key.")
                else:
                    return other, await attach(other)
            except NotFound:
                if not await self._comes(other, opening, until):
                    await self._store.release(key.name, held)

    async def _comes(self, stream_id: str, opening: anyio.Event | None, until: float) -> bool:
        """Whether a stream that is not there may still be made; waits a little if it may."""
        if opening is not None:
            await opening.wait()
            return True
        if self._clock.monotonic() >= until:
            return False
        if await self._store.claimed(_was_there(stream_id)) is not None:
            return await self._is_there(stream_id)  # made since we looked, or gone again
        await self._clock.sleep(POLL)
        return True

    async def _is_there(self, stream_id: str) -> bool:
        try:
            await self._store.status(stream_id)
        except NotFound:
            return False
        return True

    async def hold(self, key: IdempotencyKey, stream_id: str, ttl: float) -> None:
        """The stream is there: its key is held for `ttl` seconds.

        Raises:
            KeyTaken: it is not its key any more.
        """
        value = key.claim(stream_id)
        await self._store.claim(_was_there(stream_id), stream_id, ttl)
        if await self._store.claim(key.name, value, ttl) != value:
            raise KeyTaken
        await self._store.extend(key.name, value, ttl)

    async def _begins_anew(self, stream_id: str) -> bool:
        """Whether a stream has ended so that its key is free, which its node could not say any more (P10)."""
        if (await self._store.status(stream_id)).state not in ("failed", "cancelled"):
            return False
        after = -1
        while records := await self._store.read(stream_id, after, BATCH):
            if any(map(says, records)):
                return False
            if records[-1].terminal is not None:
                return said_again(records[-1].terminal)
            after = records[-1].seq
            await anyio.lowlevel.checkpoint()
        return False

    async def release(self, key: IdempotencyKey, stream_id: str) -> None:
        """Give a key back."""
        await self._store.release(key.name, key.claim(stream_id))
        await self._store.release(_was_there(stream_id), stream_id)

    async def settle(self, key: IdempotencyKey, stream_id: str, keep: float | None) -> None:
        """The stream has ended: its key is held for `keep` seconds more, or free where that is None. Never raises."""
        try:
            if keep is None:
                await self.release(key, stream_id)
            else:
                await self._store.extend(key.name, key.claim(stream_id), keep)
        except HeadraceError as error:
            log.warning("stream %s: its idempotency key keeps its first lifetime: %s", stream_id, error)
        except Exception:  # it would end every stream of this node
            log.exception("stream %s: defect in settling its idempotency key", stream_id)


def _was_there(stream_id: str) -> str:
    """The name whose claim says that a stream was made; in braces, which a cluster keeps where the stream is."""
    return f"made\n{{{stream_id}}}"
