"""What a worker is told: one line of JSON over its stdin, so that neither `ps` nor an environment shows keys."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.config import Config, Secret


class Order(msgspec.Struct, frozen=True):
    """One worker's place in the server."""

    config: Config
    number: int
    """From 0."""
    directory: str
    """Where its sockets and those of its siblings are."""
    sockets: tuple[int, ...]
    """Descriptors that it inherits, bound and to be listened on."""


def encode(order: Order) -> bytes:
    """One line."""
    return msgspec.json.encode(order, enc_hook=_reveal) + b"\n"


def decode(line: bytes) -> Order:
    """What `encode` made."""
    return msgspec.json.decode(line, type=Order, dec_hook=_conceal)


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


def _conceal(kind: type, value: Any) -> Secret:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError
