"""What is asked of the engine: a request, and everything that decides how its stream lives."""

from __future__ import annotations

from typing import Protocol

import msgspec

from headrace.config import Disconnect
from headrace.config.schema import CallSettings
from headrace.engine.idempotency import IdempotencyKey
from headrace.engine.observer import Source
from headrace.messages import Request
from headrace.providers.base import Provider


class Route(msgspec.Struct, frozen=True):
    """Where a model's requests go."""

    provider: Provider
    upstream_model: str
    settings: CallSettings = CallSettings()
    """The model's own deadlines and retries."""
    source: Source = Source()
    """What measurements are told apart by."""


class Router(Protocol):
    """Model names to providers."""

    def route(self, model: str) -> Route | None:
        """Where to send it; None for an unknown model."""
        ...


class Order(msgspec.Struct, frozen=True):
    """One request, with everything that decides how its stream lives."""

    request: Request
    owner: str
    policy: Disconnect
    route: Route
    key: IdempotencyKey | None = None
    request_id: str | None = None
