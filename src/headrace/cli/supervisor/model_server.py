"""The process of the embedded model, and how workers reach it."""

from __future__ import annotations

import secrets
import sys
from typing import Final

import msgspec

from headrace.cli.supervisor.child import Command
from headrace.config import Config, Model, Secret
from headrace.embedded.order import Order

NAME: Final = "the embedded model"


class ModelServer:
    """One for all workers: the same address and key after a restart, since they are told once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._key = secrets.token_urlsafe(32)
        self.port = 0
        """Set it to the first one's, so that the next takes the same."""

    def command(self) -> Command:
        """How it is started."""
        config = self._config
        # Each worker asks as often as there are slots, and holds a connection open ahead of the next request.
        connections = config.workers * (config.local_slots + 1)
        order = Order(config.local_slots, config.local_context, self.port, self._key, connections)
        return Command(
            NAME,
            [sys.executable, "-P", "-m", "headrace.embedded"],
            order=msgspec.json.encode(order) + b"\n",
        )

    def serve(self, model: Model) -> Model:
        """The same model with its address, where workers ask it."""
        if model.protocol != "local":
            return model
        return msgspec.structs.replace(
            model,
            base_url=f"http://127.0.0.1:{self.port}/v1",
            api_key=Secret(self._key),
        )


def is_wanted(config: Config) -> bool:
    """Whether the configuration has it."""
    return any(model.protocol == "local" for model in config.models)
