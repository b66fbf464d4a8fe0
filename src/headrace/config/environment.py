"""`HEADRACE_*` variables -> the settings they stand for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from headrace.config.problems import Problems, suggest

PREFIX: Final = "HEADRACE_"

# Variables that are no setting: the file itself, and what `headrace tail` and `cancel` need to reach a server.
OTHER_VARIABLES: Final = frozenset({"HEADRACE_CONFIG", "HEADRACE_URL", "HEADRACE_API_KEY"})

# Kubernetes gives every container these for a Service called `headrace` or `headrace-…`; with such a Service
# HEADRACE_PORT is "tcp://10.0.0.1:8000". They are nobody's settings.
_KUBERNETES_NAME = re.compile(r"HEADRACE_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_KUBERNETES_VALUE = re.compile(r"(?:tcp|udp|sctp)://")


def settings(environ: Mapping[str, str], keys: Collection[str], problems: Problems) -> dict[str, str]:
    """The settings that the environment gives, by key; empty variables count as unset, unknown ones as a mistake."""
    found: dict[str, str] = {}
    for name in sorted(environ):
        value = environ[name]
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES or _from_kubernetes(name, value):
            continue
        key = name.removeprefix(PREFIX).lower()
        if key not in keys or name != variable(key):
            known = OTHER_VARIABLES | {variable(known) for known in keys}
            problems.at(name, f"unknown environment variable; {suggest(name, known)}")
        elif value.strip():
            found[key] = value
    return found


def variable(key: str) -> str:
    """The environment name of a key."""
    return PREFIX + key.upper()


def _from_kubernetes(name: str, value: str) -> bool:
    return bool(_KUBERNETES_NAME.fullmatch(name)) or (name.endswith("_PORT") and bool(_KUBERNETES_VALUE.match(value)))
