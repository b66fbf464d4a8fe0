"""Proxies that pass bytes on, each with one worker and connections to the upstream that are kept."""

from __future__ import annotations

import re
from typing import Final

from benchmarks.gateways.servers.base import Place, Server, output
from benchmarks.gateways.servers.packages import debian

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
