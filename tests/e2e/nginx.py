"""A real nginx in front of Headrace: with its defaults, as docs/proxies.md and deploy/ have it, and in between."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.processes import PATIENCE_S, ROOT, environment

# Debian keeps servers out of a user's PATH.
_PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"))
_SEVERE = ("[alert]", "[crit]", "[emerg]")

HTTP_1_0, HTTP_1_1 = "HTTP/1.0", "HTTP/1.1"
"""The hops to Headrace: nginx's own default (until 1.29.7), and the block of docs/proxies.md."""
COMPRESSING, NESTED, HTTP_2 = "compressing", "nested", "HTTP/2"
"""Defaults, but all is compressed; defaults in front of the documented block; defaults, the client's side in HTTP/2."""

_COMPRESS_ALL = "gzip_types *; gzip_proxied any; gzip_min_length 0;"

# What every run here has. A worker of another user could not write to the directory.
_PROCESS = "daemon off; pid nginx.pid; error_log error.log info;" + " user root;" * (os.geteuid() == 0)
_HERE = """
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
"""

# As Debian has it, but for the servers.
_CONFIG = """
events {{}}
http {{
    sendfile on;
    tcp_nopush on;
    gzip on;
    access_log off;
    {servers}
}}
"""


@dataclass(frozen=True)
class Front:
    """One way through nginx to Headrace."""

    url: str

    @property
    def api(self) -> str:
        return f"{self.url}/v1"


def documented(target: str) -> str:
    """The `location` of docs/proxies.md, with another server behind it."""
    (block,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "proxies.md").read_text(), re.DOTALL)
    assert block.count("http://127.0.0.1:8000;") == 1
    return block.replace("http://127.0.0.1:8000", target)


def _servers(target: str, ports: Mapping[str, int]) -> Iterator[str]:
    plain = f"location / {{ proxy_pass {target}; proxy_http_version 1.0; }}"
    content = {
        HTTP_1_0: plain,
        HTTP_1_1: f"{_COMPRESS_ALL} {documented(target)}",
        COMPRESSING: f"{_COMPRESS_ALL} {plain}",
        NESTED: f"location / {{ proxy_pass http://127.0.0.1:{ports[HTTP_1_1]}; }}",
        HTTP_2: plain,
    }
    for name, port in ports.items():
        yield f"server {{ listen 127.0.0.1:{port}{' http2' * (name == HTTP_2)}; {content[name]} }}"


@contextlib.contextmanager
def proxying(directory: Path, target: str) -> Iterator[Mapping[str, Front]]:
    """nginx in front of the server at `target`; gives its fronts by name."""
    names = (HTTP_1_0, HTTP_1_1, COMPRESSING, NESTED, HTTP_2)

    def config(ports: Sequence[int]) -> str:
        return _CONFIG.format(servers="\n    ".join(_servers(target, dict(zip(names, ports, strict=True)))))

    with _running(directory, len(names), config) as fronts:
        yield dict(zip(names, fronts, strict=True))


@contextlib.contextmanager
def deployed(directory: Path, *nodes: str) -> Iterator[Front]:
    """nginx with deploy/nginx.conf, whose nodes are at these addresses, `host:port`."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for number, address in enumerate(nodes, 1):
        name = f"headrace-{number}:8000"
        assert text.count(name) == 2
        text = text.replace(name, address)
    assert text.count("listen 80;") == 1
    with _running(directory, 1, lambda ports: text.replace("listen 80;", f"listen 127.0.0.1:{ports[0]};")) as fronts:
        yield fronts[0]


@contextlib.contextmanager
def _running(directory: Path, count: int, config: Callable[[Sequence[int]], str]) -> Iterator[Sequence[Front]]:
    """nginx with the configuration that is made for so many ports, one front for each of them.

    It must end with 0 at SIGTERM, and have logged nothing severe in its life.
    """
    program = shutil.which("nginx", path=_PATH)
    assert program is not None, "there is no nginx; scripts/test says how to get one"
    directory.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        # It takes listening sockets over, as at the upgrade of a running nginx. So the ports are free ones, nobody else
        # can take them, and clients can connect before it has started.
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        for each in sockets:
            # It leaves them as they are; of two workers that see the same connection one would wait for the next.
            each.setblocking(False)
        numbers = [each.fileno() for each in sockets]
        ports = [each.getsockname()[1] for each in sockets]
        text = config(ports)
        assert text.count("http {\n") == 1
        (directory / "nginx.conf").write_text(text.replace("http {\n", "http {" + _HERE))
        process = subprocess.Popen(
            [program, "-p", str(directory), "-c", "nginx.conf", "-g", _PROCESS],
            env=environment(NGINX="".join(f"{number};" for number in numbers)),
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context((directory / "stdout.txt").open("w")),
            stderr=stack.enter_context((directory / "stderr.txt").open("w")),
        )
    try:
        yield [Front(f"http://127.0.0.1:{port}") for port in ports]
    finally:
        process.terminate()
        code = process.wait(PATIENCE_S)
    log = "".join((directory / name).read_text() for name in ("stderr.txt", "error.log"))
    assert code == 0, log
    assert not [line for line in log.splitlines() if any(sign in line for sign in _SEVERE)], log
