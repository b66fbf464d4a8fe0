"""Idempotency keys: the same key and body joins the stream that the first request made (P10)."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import msgspec

from headrace.bodies import Cut, LongBody
from headrace.errors import HeadraceError, IdempotencyKeyReused, NotFound
from headrace.stores.base import StreamStore

log = logging.getLogger("headrace.engine")

T = TypeVar("T")
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


class Claims:
    """Which stream holds which key: one, however many ask for it at the same time."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store
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
        self, key: IdempotencyKey, stream_id: str, ttl: float, attach: Callable[[str], Awaitable[T]]
    ) -> tuple[str, T] | None:
        """Take a key for a stream; None when it is taken, otherwise the stream that holds it, and `attach` of that.

        `attach` raises `NotFound` for a stream that is not there.

        Raises:
            IdempotencyKeyReused: it is held with another body.
        """
        value = key.claim(stream_id)
        while True:
            held = await self._store.claim(key.name, value, ttl)
            if held == value:
                return None
            other, digest = claimed_stream(held)
            opening = self._opening.get(other)
            try:
                if digest == key.digest:
                    return other, await attach(other)
                if opening is None:
                    await self._store.status(other)
            except NotFound:  # the claim of a stream that is not there yet, or not any more
                if opening is not None:
                    await opening.wait()
                else:
                    await self._store.release(key.name, held)
            else:
                raise IdempotencyKeyReused("This Idempotency-Key was used with another body; use a new key.")

    async def release(self, key: IdempotencyKey, stream_id: str) -> None:
        """Give a key back."""
        await self._store.release(key.name, key.claim(stream_id))

    async def settle(self, key: IdempotencyKey, stream_id: str, keep: float | None) -> None:
        """The stream has ended: its key is held for `keep` seconds more, or free where that is None."""
        try:
            if keep is None:
                await self.release(key, stream_id)
            else:
                await self._store.extend(key.name, key.claim(stream_id), keep)
        except HeadraceError as error:
            log.warning("stream %s: its idempotency key keeps its first lifetime: %s", stream_id, error)
