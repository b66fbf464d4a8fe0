"""Idempotency keys: the same key and body joins the stream that the first request made (P10)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_canonical = msgspec.json.Encoder(order="sorted").encode


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A caller's key, in its scope: owner, route and key."""

    name: str
    digest: str
    """SHA-256 of the decoded JSON body with sorted keys, `stream` included."""

    @classmethod
    def of(cls, owner: str, route: str, key: str, body: bytes) -> IdempotencyKey:
        """The key of one request; `body` must be valid JSON."""
        decoded: Any = msgspec.json.decode(body)
        return cls(claim_name(owner, route, key), hashlib.sha256(_canonical(decoded)).hexdigest())

    def claim(self, stream_id: str) -> str:
        """The value that a claim of this key holds."""
        return f"{stream_id}:{self.digest}"


def claim_name(owner: str, route: str, key: str) -> str:
    """The name under which the store holds the claim; owner and key cannot contain the separator's newline."""
    return f"idempotency\n{owner}\n{route}\n{key}"


def claimed_stream(value: str) -> tuple[str, str]:
    """Stream id and body digest out of a claim's value."""
    stream_id, _, digest = value.partition(":")
    return stream_id, digest
