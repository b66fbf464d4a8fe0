"""What is in deploy/, read as whoever runs it reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

LAST_READS_S = 3
"""What readers have after the drain (docs/operations.md)."""

_WANTED = re.compile(r"\$\{(\w+):\?[^}]*\}")
_PART = re.compile(r"(\d+)([hms])")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def variables() -> list[str]:
    """The names that env.example has, which is to become `.env`."""
    lines = (DEPLOY / "env.example").read_text().splitlines()
    return [line.partition("=")[0] for line in lines if line and not line.startswith("#")]


def wanted() -> set[str]:
    """The variables without which compose.yaml does not start."""
    return set(_WANTED.findall((DEPLOY / "compose.yaml").read_text()))


def compose(values: Mapping[str, str]) -> dict[str, Any]:
    """compose.yaml with these values of its variables."""
    text = (DEPLOY / "compose.yaml").read_text()
    return yaml.safe_load(_WANTED.sub(lambda match: values[match[1]], text).replace("$$", "$"))


def kubernetes() -> list[dict[str, Any]]:
    """All objects of all files."""
    paths = sorted(DEPLOY.glob("kubernetes*.yaml"))
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def the(kind: str, name: str = "headrace") -> dict[str, Any]:
    """One of them."""
    (found,) = (each for each in kubernetes() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def alerts() -> list[dict[str, Any]]:
    """All rules, each with the name of its group."""
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return [{"group": group["name"], **rule} for group in groups for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics that a rule asks."""
    return set(re.findall(r"\b(?:headrace|redis|process)_\w+", expression))


def seconds(duration: str) -> int:
    """Of a duration such as 5m10s."""
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(duration))
