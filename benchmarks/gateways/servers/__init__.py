"""The servers, in the order of the table."""

from __future__ import annotations

from typing import Final

from benchmarks.gateways.servers.gateways import LITELLM, PORTKEY, VLLM_ROUTER
from benchmarks.gateways.servers.proxies import CADDY, ENVOY, HAPROXY, NGINX
from benchmarks.gateways.servers.python import DIRECT, FLOOR, HEADRACE, STARLETTE, TUTORIAL

_ORDER: Final = (
    *(DIRECT, HEADRACE, NGINX, HAPROXY, ENVOY, CADDY, VLLM_ROUTER),
    *(PORTKEY, LITELLM, TUTORIAL, STARLETTE, FLOOR),
)
SERVERS: Final = {server.name: server for server in _ORDER}
