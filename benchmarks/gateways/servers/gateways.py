"""Servers that are made for language models: LiteLLM, vLLM's router, Portkey's gateway."""

from __future__ import annotations

import json
from typing import Final

from benchmarks.gateways.servers.base import TOOLS, Place, Server, free_port, output
from benchmarks.gateways.servers.packages import npm, venv

_KEY: Final = "sk-gateways"


def _installed(environment: str, package: str) -> str:
    """A package's version in an environment of its own."""
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = output(str(TOOLS / environment / "bin" / "python"), "-c", program)
    return found if found[:1].isdigit() else ""


def _litellm(place: Place) -> list[str]:
    params = {"model": "openai/mock", "api_base": f"{place.upstream}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "mock", "litellm_params": params}],
        "general_settings": {"master_key": _KEY},
    }
    path = place.write("litellm.yaml", json.dumps(config))  # JSON is YAML
    arguments = ["--config", path, "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    return [str(TOOLS / "litellm" / "bin" / "litellm"), *arguments, "--telemetry", "False"]


LITELLM: Final = Server(
    "litellm",
    _litellm,
    lambda: _installed("litellm", "litellm"),
    "LiteLLM's proxy: one model, a master key, no database, one worker",
    venv("litellm", "litellm[proxy]"),
    # It would ask the network for prices, and log every request.
    environ=lambda _: {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"},
    headers=(f"Authorization: Bearer {_KEY}",),
    rates=(700, 1_400),
    rush_tokens=200,
    connects=40.0,
)


def _vllm_router(place: Place) -> list[str]:
    return [
        str(TOOLS / "vllm-router" / "bin" / "vllm-router"),
        *("--host", "127.0.0.1", "--port", str(place.port)),
        *("--worker-urls", place.upstream, "--policy", "round_robin"),
        *("--health-check-endpoint", "/v1/models"),
        *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())),
        *("--log-level", "error"),
    ]


VLLM_ROUTER: Final = Server(
    "vllm-router",
    _vllm_router,
    lambda: _installed("vllm-router", "vllm-router"),
    "vLLM's router (Rust): one worker URL, `--policy round_robin`",
    venv("vllm-router", "vllm-router"),
)

_PORTKEY: Final = TOOLS / "portkey" / "node_modules" / "@portkey-ai" / "gateway"


def _portkey(place: Place) -> list[str]:
    return ["node", str(_PORTKEY / "build" / "start-server.js"), f"--port={place.port}", "--headless"]


def _portkey_version() -> str:
    manifest = _PORTKEY / "package.json"
    return str(json.loads(manifest.read_text(encoding="utf-8"))["version"]) if manifest.exists() else ""


PORTKEY: Final = Server(
    "portkey",
    _portkey,
    _portkey_version,
    "Portkey's gateway on Node: provider `openai`, the mock as custom host",
    # With the newest of its HTTP server every stream is a 500: the headers of its answer cannot be changed.
    npm("portkey", "@portkey-ai/gateway", {"@hono/node-server": "1.3.3"}),
    headers=(
        "Authorization: Bearer none",
        "x-portkey-provider: openai",
        "x-portkey-custom-host: http://127.0.0.1:{upstream_port}/v1",
    ),
    rates=(2_000, 5_000),
    rush_tokens=1_000,
    connects=50.0,
)
