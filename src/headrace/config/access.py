"""Who may call (`api_keys`, `cors_origins`, `allowed_hosts`, `secret`), and where we go: `redis_url`, `archive_url`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from headrace.config.archive_url import parse_archive_url
from headrace.config.problems import Path, Problems, as_list, as_mapping, shown
from headrace.config.redis_url import parse_redis_url
from headrace.config.schema import ApiKey
from headrace.config.secret import Secret

# P35: a name of a key may appear in a header or a metric.
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_KEY = re.compile(r"[!-~]+")
# 128 bits in base64 are 22 characters.
_SHORTEST_SECRET = 22


class AccessReader:
    """Reads the lists and the secrets; a problem is in the file, or in the variable if `source` names one."""

    def __init__(self, problems: Problems, source: str | None = None) -> None:
        self._problems = problems
        self._source = source

    def api_keys(self, value: object) -> tuple[ApiKey, ...]:
        """Strings (`key` or `name=key`) and `{name, key}`; keys and names must differ from each other."""
        keys: list[ApiKey] = []
        for index, item in enumerate(self._items("api_keys", value)):
            path: Path = ("api_keys", index)
            entry = self._api_key(path, item)
            if entry is None:
                continue
            if any(entry.key == other.key for other in keys):
                self._note(path, "this key is already in the list: each caller needs its own")
            elif any(entry.name == other.name for other in keys):
                self._note(path, f"the name {entry.name} is already taken: give each key its own")
            else:
                keys.append(entry)
        return tuple(keys)

    def cors_origins(self, value: object) -> tuple[str, ...]:
        """Origins as browsers send them, `scheme://host[:port]`, or `*`."""
        return self._strings("cors_origins", value, _origin)

    def allowed_hosts(self, value: object) -> tuple[str, ...]:
        """Host names without scheme and port, lower-case."""
        return self._strings("allowed_hosts", value, _host)

    def secret(self, value: object) -> Secret | None:
        """What tokens are signed with; spaces around it are not part of it."""
        text = value.strip() if isinstance(value, str) else ""
        if _KEY.fullmatch(text) and len(text) >= _SHORTEST_SECRET:
            return Secret(text)
        self._note(("secret",), f"expected at least {_SHORTEST_SECRET} visible ASCII characters without spaces, quoted")
        return None

    def redis_url(self, value: object) -> Secret | None:
        """The shared store's address, a secret because it may have a password; spaces around it are not part of it."""
        return self._address("redis_url", value, parse_redis_url)

    def archive_url(self, value: object) -> Secret | None:
        """Where ended streams are archived; a secret like the other, should somebody write a password into it."""
        return self._address("archive_url", value, parse_archive_url)

    def _address(self, key: str, value: object, parse: Callable[[str], object]) -> Secret | None:
        text = value.strip() if isinstance(value, str) else ""
        try:
            parse(text)
        except ValueError as error:
            self._note((key,), str(error))
            return None
        return Secret(text)

    def _strings(self, key: str, value: object, read: Callable[[object], str]) -> tuple[str, ...]:
        found: list[str] = []
        for index, item in enumerate(self._items(key, value)):
            try:
                found.append(read(item))
            except ValueError as error:
                self._note((key, index), str(error))
        return tuple(dict.fromkeys(found))

    def _items(self, key: str, value: object) -> list[object]:
        if self._source is not None and isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        items = as_list(value)
        if items is None:
            self._note((key,), "expected a list: one `- …` line each")
        return items or []

    def _api_key(self, path: Path, item: object) -> ApiKey | None:
        fields = as_mapping(item)
        name, key = _named(item) if isinstance(item, str) else (None, None)
        if fields is not None and fields.keys() == {"name", "key"}:
            name, key = fields["name"], fields["key"]
        # What is there is not shown, not even an unknown name: a mistyped line may be the key itself (P36).
        if not isinstance(key, str) or not isinstance(name, str | None):
            self._note(path, "expected a key in quotes, or {name: …, key: …}")
        elif not _KEY.fullmatch(key):
            self._note(path, "a key must be visible ASCII characters without spaces, and not empty")
        elif name is not None and not _NAME.fullmatch(name):
            self._note(path, "a name must match [A-Za-z0-9._:-]{1,128}")
        else:
            return ApiKey(str(name) if name is not None else _fingerprint(key), Secret(str(key)))
        return None

    def _note(self, path: Path, text: str) -> None:
        if self._source is None:
            self._problems.value(path, text)
        else:
            number = f" (entry {path[1] + 1})" if len(path) > 1 and isinstance(path[1], int) else ""
            self._problems.at(f"{self._source}{number}", text)


def _named(text: str) -> tuple[str | None, str]:
    """Split `name=key`; the `=` at the end of a base64 key is no separator."""
    name, _, key = text.partition("=")
    return (name, key) if key.strip("=") and _NAME.fullmatch(name) else (None, text)


def _fingerprint(key: str) -> str:
    return "key-" + hashlib.sha256(key.encode()).hexdigest()[:12]


def _origin(item: object) -> str:
    expected = f'expected an origin such as "https://app.example.com", or "*", got {shown(item)}'
    if not isinstance(item, str):
        raise ValueError(expected)
    if item == "*":
        return "*"
    try:
        parts = urlsplit(item)
        usable = parts.scheme and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment or not item.isascii():
        raise ValueError(expected)
    # Browsers send an origin in lower case, without a path (RFC 6454 6.1).
    return f"{parts.scheme}://{parts.netloc}".lower()


def _host(item: object) -> str:
    if not isinstance(item, str) or not _HOST.fullmatch(item):
        raise ValueError(f'expected a host name without scheme and port, such as "headrace.lan", got {shown(item)}')
    return item.lower()
