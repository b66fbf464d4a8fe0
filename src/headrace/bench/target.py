"""Where requests go: one address out of what people write."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from headrace.errors import ConfigError

_PORTS: Final = {"http": 80, "https": 443}
# Left as they are in a path: everything that RFC 3986 allows there, an escape, and the braces of a place holder.
_KEPT: Final = "/?&=%:@,;+!*'()$~.-_{}"


class Target(msgspec.Struct, frozen=True):
    """One endpoint of one server."""

    name: str
    host: str
    """Without the brackets of IPv6."""
    port: int
    tls: bool
    path: str
    """As it stands in the request line, with the query."""
    address: str = ""
    """The address that `host` was found to have; empty when nobody has looked."""

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address for people: without the query, which may hold a key."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path.partition('?')[0]}"

    def at(self, path: str) -> Target:
        """Another path of the same server."""
        return msgspec.structs.replace(self, path=path)


def parse_target(text: str, endpoint: str, *, whole: bool = False) -> Target:
    """Read `[NAME=]URL`; without a name it is called by its host and port.

    `endpoint` is the path that the shape is served at, such as `/v1/chat/completions`. The URL may leave it out, end
    with its first part (`…/v1`) or hold all of it. With `whole` the URL is taken as it is.

    Raises:
        ConfigError: it is no address.
    """
    name, equals, url = text.partition("=")
    if not equals or "/" in name or ":" in name:
        name, url = "", text
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise ConfigError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in _PORTS or not host:
        raise ConfigError(f"{url!r} is no address of a server: expected http://HOST:PORT or https://HOST")
    if parts.username is not None or parts.fragment:
        raise ConfigError("an address holds no password and no fragment; use --api-key or --header")
    path = parts.path if whole else _joined(parts.path, endpoint)
    if parts.query:
        path = f"{path}?{parts.query}"
    target = Target(
        name="",
        host=host,
        port=port or _PORTS[parts.scheme],
        tls=parts.scheme == "https",
        path=quote(path or "/", safe=_KEPT),
    )
    return msgspec.structs.replace(target, name=name or target.authority)


def _joined(base: str, endpoint: str) -> str:
    """The path of the endpoint under a base, whatever part of it the base already holds."""
    base = base.rstrip("/")
    version, _, rest = endpoint.lstrip("/").partition("/")
    if base.endswith(f"/{rest}"):
        return base
    return f"{base}/{rest}" if base.endswith(f"/{version}") else f"{base}{endpoint}"
