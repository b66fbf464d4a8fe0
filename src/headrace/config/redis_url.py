"""`redis_url`: where the shared store is, in the form that Redis' own clients read."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from headrace.config.secret import Secret

_EXPECTED = "expected an address such as redis://localhost:6379/0, rediss://user:password@host:6379 or unix:///path"
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKS = ("required", "none")


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One server, and how to be let in. `path` is a unix socket's, and then host and port do not count."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str = ""
    password: Secret | None = None
    tls: bool = False
    verify: bool = True
    """Whether the server's certificate must be one that is trusted."""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @property
    def name(self) -> str:
        """What errors and logs call it: no credentials (P36)."""
        return self.path or f"{self.host}:{self.port}"


def parse_redis_url(text: str) -> RedisAddress:
    """`redis://`, `rediss://` (TLS) or `unix://`, with user, password and database; TLS files as redis-py names them.

    Raises:
        ValueError: the message says what is wrong and never shows the address, since it may hold a password (P36).
    """
    try:
        parts = urlsplit(text.strip())
        host, port, username, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if parts.scheme not in ("redis", "rediss", "unix") or parts.fragment:
        raise ValueError(_EXPECTED)
    options = _options(parts.query)
    local = parts.scheme == "unix"
    database = options.get("db", "0") if local else options.get("db", "") or parts.path.strip("/") or "0"
    if (local and not parts.path) or (not local and not host) or port == 0:
        raise ValueError(_EXPECTED)
    if not (database.isascii() and database.isdecimal()):
        raise ValueError("the database must be a number, such as redis://localhost:6379/0")
    return RedisAddress(
        host=host or "localhost",
        port=port or 6379,
        path=unquote(parts.path) if local else "",
        db=int(database),
        username=unquote(username or ""),
        password=Secret(unquote(password)) if password else None,
        tls=parts.scheme == "rediss",
        verify=options.get("ssl_cert_reqs", "required") == "required",
        ca_file=options.get("ssl_ca_certs"),
        cert_file=options.get("ssl_certfile"),
        key_file=options.get("ssl_keyfile"),
    )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = ("db", "ssl_cert_reqs", *_FILES)
    if not options.keys() <= set(known):
        raise ValueError(f"what follows the ? may be {', '.join(known)}")
    if options.get("ssl_cert_reqs", "none") not in _CHECKS:
        raise ValueError(f"ssl_cert_reqs must be one of {', '.join(_CHECKS)}")
    return options
