"""The servers, in the order of the table."""

from __future__ import annotations

from typing import Final

from benchmarks.gateways.servers.proxies import NGINX
from benchmarks.gateways.servers.python import DIRECT, FLOOR, HEADRACE, STARLETTE, TUTORIAL

SERVERS: Final = {server.name: server for server in (DIRECT, HEADRACE, NGINX, FLOOR, STARLETTE, TUTORIAL)}
