"""Who asks: an API key to the name of its owner, and the checks of a server that has no keys (P31-P36)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from headrace.config import Config, is_loopback
from headrace.errors import BadRequest, Forbidden, Unauthorized

ANONYMOUS = "anonymous"
"""Owner of everything where no keys are configured."""

_TOKEN = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def owners_of(config: Config) -> tuple[str, ...]:
    """Everybody who may have streams here."""
    return tuple(entry.name for entry in config.api_keys) or (ANONYMOUS,)


def checked_token(text: str, name: str) -> str:
    """A client's string that may be echoed into headers or become part of a name in the store (P35).

    Raises:
        BadRequest: it holds other characters, or is empty or longer than 128.
    """
    if _TOKEN.fullmatch(text) is None:
        raise BadRequest(f"{name} must be 1 to 128 characters out of A-Z a-z 0-9 . _ : -", param=name)
    return text


class Access:
    """The rules of one server."""

    def __init__(self, config: Config) -> None:
        self._keys = config.api_keys
        # An open server has names that nobody listed, unless somebody did; one that binds loopback has none.
        self._checks_host = not config.no_auth or bool(config.allowed_hosts) or is_loopback(config.host)
        self._hosts = frozenset(_host_name(host) for host in config.allowed_hosts)
        self._origins = frozenset(config.cors_origins)
        self._open = not config.api_keys

    def owner(self, authorization: str | None, api_key: str | None) -> str:
        """The name of the key's owner; the key itself goes no further (P36).

        Raises:
            Unauthorized: there is no key, or it is not configured.
        """
        if self._open:
            return ANONYMOUS
        scheme, _, token = (authorization or "").partition(" ")
        candidate = token.strip() if scheme.lower() == "bearer" else api_key
        if not candidate:
            raise Unauthorized("An API key is needed: send it as `Authorization: Bearer <key>` or `x-api-key`.")
        # Every key is compared, in constant time each, so the time says nothing about which one was close.
        names = [entry.name for entry in self._keys if entry.key.matches(candidate)]
        if not names:
            raise Unauthorized("This API key is not known here.")
        return names[0]

    def check_page(self, host: str | None, origin: str | None, fetch_site: str | None) -> None:
        """Without keys, any web page could use the server through its visitor's browser: keep foreign pages out (P33).

        Raises:
            Forbidden: the Host is not this machine's (DNS rebinding), or the request comes from another site.
        """
        if not self._open:
            return
        name = _host_name(host)
        if self._checks_host and not (is_loopback(name) or name in self._hosts):
            raise Forbidden(f"Host {name or '(none)'} is not served; add it to allowed_hosts or use localhost.")
        if origin is not None:
            if origin not in self._origins and not _is_own(origin, host):
                raise Forbidden("This page's origin may not use this server; add it to cors_origins.")
        elif fetch_site in ("cross-site", "same-site"):  # a site is all ports of a host: other programs' pages too
            raise Forbidden("Another site may not use this server; open it from its own address.")


def _host_name(host: str | None) -> str:
    """The name without port, lower case, brackets of IPv6 kept off."""
    try:
        return (urlsplit(f"//{host or ''}").hostname or "").lower()
    except ValueError:
        return ""


def _is_own(origin: str, host: str | None) -> bool:
    """Whether the page came from this server itself; `null`, as sandboxed pages and files have it, never did."""
    try:
        authority = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    return authority != "" and authority == (host or "").lower()
