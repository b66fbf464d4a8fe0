"""Headrace, and the relays of our own: all in the environment of the project."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.gateways.servers.base import ROOT, Place, Server, output

_KEY: Final = "sk-gateways"
_BIN: Final = Path(sys.executable).parent


def _none() -> str:
    return "-"


def _headrace(place: Place) -> list[str]:
    params = {"model": "vllm/mock", "base_url": f"{place.upstream}/v1"}
    config = {
        "model_list": [{"model_name": "mock", "params": params}],
        "api_keys": [{"name": "bench", "key": _KEY}],
        "max_running_per_key": 20_000,
        "max_stream_log_bytes": "1GiB",
        "max_log_bytes": "4GiB",
    }
    path = place.write("headrace.yaml", json.dumps(config))  # JSON is YAML
    return [str(_BIN / "headrace"), "serve", "--config", path, "--port", str(place.port)]


def _headrace_version() -> str:
    commit = output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    return f"{version('headrace')} ({commit})" if commit else version("headrace")


def _uvicorn(app: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", f"benchmarks.gateways.relays.{app}", "--log-level", "warning", "--port"]


def _upstream(place: Place) -> dict[str, str]:
    return {"UPSTREAM": f"{place.upstream}/v1", "PYTHONPATH": str(ROOT)}


def _versions(*names: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in names)


DIRECT: Final = Server("direct", None, _none, "no server: the mock and the client alone, what the rig itself can do")

HEADRACE: Final = Server(
    "headrace",
    _headrace,
    _headrace_version,
    "durable log in memory, resumable: `id:` on every event, heartbeats, an API key, an Idempotency-Key per request",
    headers=(f"Authorization: Bearer {_KEY}", "Headrace-Ids: 1", "Idempotency-Key: gateways-{number}"),
    durable=True,
)

TUTORIAL: Final = Server(
    "tutorial",
    lambda place: [*_uvicorn("tutorial:app"), str(place.port)],
    lambda: _versions("fastapi", "openai", "uvicorn"),
    "FastAPI and the OpenAI SDK: `async for chunk …: yield chunk.model_dump_json()`; uvicorn on uvloop",
    environ=_upstream,
    rates=(700, 2_000),
    rush_tokens=600,
    connects=100.0,
)

STARLETTE: Final = Server(
    "starlette",
    lambda place: [*_uvicorn("starlette_relay:app"), str(place.port)],
    lambda: _versions("starlette", "aiohttp", "uvicorn"),
    "bytes passed on as they come: Starlette, aiohttp, uvicorn on uvloop",
    environ=_upstream,
    rush_tokens=20_000,
)

FLOOR: Final = Server(
    "floor",
    lambda place: [
        *(sys.executable, "-m", "benchmarks.gateways.relays.floor"),
        *(str(place.port), str(place.upstream_port)),
    ],
    lambda: _versions("uvloop"),
    "bytes passed on between two bare protocols on uvloop, without HTTP: the least that Python can do",
    environ=_upstream,
)
