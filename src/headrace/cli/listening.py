"""The sockets that `headrace serve` listens on."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any, Final

from headrace.errors import ConfigError, HeadraceError

# Accepted sockets inherit it on Linux. tcp(7) has it since 3.12; Windows has not.
_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
# What the kernel holds of a body before it has been sent. Without it the buffer grows to the last of net.ipv4.tcp_wmem,
# 4 MiB, for a client that does not read.
_UNSENT_BYTES: Final = 128 * 1024


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind every address of the host before anything is loaded; they listen only once the server is ready.

    Raises:
        ConfigError: there is no such address here.
        HeadraceError: the port is taken, or not ours to take.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host: there is no address for {host!r} ({error})") from error
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        chosen = sockets[0].getsockname()[1] if sockets else port  # with port 0 the same for all
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], chosen, *address[2:])))
        except OSError as error:
            problem = error
            if error.errno == errno.EADDRINUSE:
                break
    if problem is None or (sockets and problem.errno != errno.EADDRINUSE):
        return sockets  # an address less is usual: many containers know ::1 by name and have no IPv6
    for each in sockets:
        each.close()
    raise _no_listening(host, port, problem) from problem


def _bound(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    each = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            # A restart does not wait for the connections of before; on Windows it would share the port instead.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _NOTSENT_LOWAT is not None:
            each.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT_BYTES)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind(address)
    except OSError:
        each.close()
        raise
    return each


def _no_listening(host: str, port: int, problem: OSError) -> HeadraceError:
    match problem.errno:
        case errno.EADDRINUSE:
            return HeadraceError(f"port {port} on {host} is taken: stop what listens there, or choose another --port")
        case errno.EADDRNOTAVAIL:
            return ConfigError(f"--host: {host} is no address of this machine")
        case errno.EACCES:
            return HeadraceError(f"port {port} needs more rights than this user has: choose a --port from 1024 up")
        case _:
            return HeadraceError(f"cannot listen on {host}:{port}: {problem.strerror}")
