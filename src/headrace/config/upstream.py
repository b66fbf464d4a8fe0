"""What goes into a request to a model server and so must be well-formed: address, key, headers."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

# Visible ASCII: no space, no line break that could start another header.
_KEY = re.compile(r"[!-~]+")
# RFC 9110 5.6.2 (token) and 5.5 (visible ASCII, spaces and tabs inside).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")
# The connection's own; identity encoding is a promise (P16).
_OWN_HEADERS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"}
)


def check_base_url(url: object) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: It is no http(s) address; the message never shows it, since it may hold a password (P36).
    """
    expected = "expected an address such as https://api.openai.com/v1 or http://localhost:8080/v1"
    if not isinstance(url, str) or not _KEY.fullmatch(url):
        raise ValueError(expected)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not usable:
        raise ValueError(expected)
    if "@" in parts.netloc:
        raise ValueError("put credentials into api_key or headers, not into the address")
    if "?" in url or "#" in url:
        raise ValueError("the address ends before ? and #: the path of the endpoint is added to it")
    path = url.rstrip("/")
    for endpoint in ("/chat/completions", "/completions", "/responses", "/messages"):
        if path.endswith(endpoint):
            raise ValueError(f"remove {endpoint}: the path of the endpoint is added to the address")
    return path


def check_anthropic_url(url: object) -> str:
    """The same for a server that speaks Anthropic's Messages: without `/v1`, as Anthropic's own clients take it.

    Raises:
        ValueError: as `check_base_url`.
    """
    return check_base_url(url).removesuffix("/v1")


def check_api_key(key: object) -> str:
    """The key without spaces around it: files and shells leave a line break there.

    Raises:
        ValueError: It cannot stand in a header; the message never shows it (P36).
    """
    if not isinstance(key, str):
        raise ValueError("expected a string: put the key in quotes, or name its variable as ${NAME}")
    if not _KEY.fullmatch(key.strip()):
        raise ValueError("a key must be visible ASCII characters without spaces, and not empty")
    return str(key).strip()


def check_header(name: str, value: object) -> str:
    """The value of an additional header.

    Raises:
        ValueError: Name or value are not allowed by RFC 9110, or the header is the connection's own.
    """
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("this is no header name")
    if name.lower() in _OWN_HEADERS:
        raise ValueError("this header is set by the connection itself: remove it")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        raise ValueError("expected a string of visible ASCII characters in one line; put it in quotes")
    return str(value)
