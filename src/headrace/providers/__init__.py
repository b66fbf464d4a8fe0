"""The only code that talks to model servers: one module per protocol, one row of the table each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from headrace.config import Config, Model
from headrace.providers.anthropic import MESSAGES, AnthropicServer
from headrace.providers.base import Provider
from headrace.providers.local import LocalProvider, LocalServer
from headrace.providers.model_server import ModelServer, Wire, settings_of
from headrace.providers.openai import CHAT, RESPONSES
from headrace.providers.replay import ReplayProvider

__all__ = ["PROTOCOLS", "Factory", "Provider", "create"]

Factory = Callable[[Model, Config], Provider]


def _server(wire: Wire, kind: type[ModelServer] = ModelServer) -> Factory:
    def make(model: Model, config: Config) -> Provider:
        settings = settings_of(wire, model, log_content=config.log_content)
        return kind(wire, model, config.max_upstream_line_bytes, settings)

    return make


def _local(model: Model, config: Config) -> Provider:
    """In this process, unless a supervisor has said where it is."""
    slots, queue, context = config.local_slots, config.local_queue, config.local_context
    if model.api_key is not None:
        return LocalServer(model.base_url, model.api_key, slots=slots, queue=queue, context=context)
    return LocalProvider(slots=slots, queue=queue, context=context)


def _replay(model: Model, config: Config) -> Provider:  # noqa: ARG001 - a recording has no limits
    return ReplayProvider(Path(model.upstream_model), model.speed)


PROTOCOLS: Final[Mapping[str, Factory]] = MappingProxyType(
    {
        "openai": _server(CHAT),
        "openai-responses": _server(RESPONSES),
        "anthropic": _server(MESSAGES, AnthropicServer),
        "local": _local,
        "replay": _replay,
    }
)
"""Protocol of a configured model to what makes its provider."""


def create(model: Model, config: Config) -> Provider:
    """The provider of a configured model; nothing is opened before its `start`.

    Models of the protocol `local` are one and the same in memory: create one provider for all of them.
    """
    return PROTOCOLS[model.protocol](model, config)
