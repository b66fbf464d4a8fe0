"""What every endpoint needs, put together once by `app.py` and handed down."""

from __future__ import annotations

import msgspec

from headrace.config import Config, Model
from headrace.engine.engine import Engine
from headrace.engine.order import Router
from headrace.policy.auth import Access
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.siblings import Siblings
from headrace.transports.heartbeat import Heartbeats


class Services(msgspec.Struct, frozen=True):
    """The parts of one server."""

    config: Config
    engine: Engine
    router: Router
    access: Access
    heartbeats: Heartbeats
    metrics: Metrics
    siblings: Siblings | None = None

    def model(self, name: str) -> Model | None:
        """The configured model that serves this name."""
        return self.config.resolve(name)
