"""How a wheel gets the JavaScript client, with which the playground reads streams; a clone has it elsewhere."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ClientInWheel(BuildHookInterface[Any]):
    """Puts `clients/js/src` beside the page; not for an editable installation, which would copy it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatch before it builds; `version` is `standard` or `editable`."""
        if version == "standard":
            build_data["force_include"]["clients/js/src"] = "headrace/playground/client"
