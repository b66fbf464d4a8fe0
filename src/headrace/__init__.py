"""Headrace, the streaming layer between language models and the people who read them.

    app = headrace.create_app(headrace.from_env("headrace.yaml"))

Names are imported when they are first used: `headrace --version` must not wait for a web framework. What type checkers
see is in `__init__.pyi`; imports here would also make every module that reads `__version__` depend on all others.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

__version__ = "0.1.0"

_HOMES: Final = {
    "create_app": "app",
    "ApiKey": "config",
    "Config": "config",
    "Model": "config",
    "Secret": "config",
    "from_env": "config",
    "load": "config",
    "ConfigError": "errors",
    "HeadraceError": "errors",
    "Chunk": "events",
    "Record": "events",
    "Request": "messages",
    "Provider": "providers",
    "StreamStore": "stores.base",
    "MemoryStore": "stores.memory",
}
"""Public name to the module that defines it."""

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll] - the stub has it in full


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What there is, used or not yet."""
    return sorted({*globals(), *__all__})
