"""Objects by name, in a directory or in a bucket of S3 or of what speaks its protocol: where streams are archived."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from headrace.config import Secret
from headrace.config.archive_url import ArchiveAddress, parse_archive_url
from headrace.errors import ArchiveError, ConfigError

PART_BYTES = 5 * 1024 * 1024
"""What is shorter is put in one request; else the parts have this size, the least that S3 takes."""

_PARTS_AT_ONCE = 2
# A part in this time needs 90 kB/s.
_TIMEOUTS = {"connect_timeout": "5s", "timeout": "60s"}
# For what passes at once; who puts tries again, and later.
_RETRIES = 2

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_OS_ERROR = re.compile(r"os error (\d+)")
_FAILURES = (BaseError, OSError, ValueError, NotImplementedError)


class Place:
    """One place for objects."""

    def __init__(self, url: Secret) -> None:
        """Make the directory if it is not there; a bucket is not looked at.

        Credentials are those that the environment has for AWS' own programs.

        Raises:
            ConfigError: the address cannot be read, or the directory not be made.
        """
        try:
            address = parse_archive_url(url.reveal())
        except ValueError as error:
            raise ConfigError(f"archive_url: {error}") from None
        try:
            self._place = LocalStore(address.directory, mkdir=True) if address.directory else _bucket(address)
        except _FAILURES as error:
            raise ConfigError(f"archive_url: {address.name} cannot be used: {_said(error)}") from None
        self.name = address.name
        """Where it is, without credentials."""
        # A directory has nowhere to write it down.
        self._options: dict[str, Any] = {"attributes": {"Content-Type": "application/gzip"}} if address.bucket else {}

    async def put(self, key: str, pieces: AsyncGenerator[bytes]) -> None:
        """Write an object, whole or not at all, in place of one of the same name.

        Raises:
            ArchiveError: it was not taken.
            Exception: what `pieces` raises.
        """
        source = _Source(pieces)
        begun = await source.some(PART_BYTES)
        try:
            if source.over:
                await obstore.put_async(self._place, key, begun, use_multipart=False, **self._options)
            else:
                parts = source.after(begun)
                await obstore.put_async(
                    *(self._place, key, parts),
                    chunk_size=PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                    **self._options,
                )
        except _FAILURES as error:
            raise source.problem or ArchiveError(f"{self.name}: {_said(error)}") from None

    async def has(self, key: str) -> bool:
        """Whether there is an object of this name. Raises `ArchiveError`."""
        try:
            await obstore.head_async(self._place, key)
        except FileNotFoundError:
            return False
        except _FAILURES as error:
            raise ArchiveError(f"{self.name}: {_said(error)}") from None
        return True


class _Source:
    """Pieces, and what went wrong with them: the library reports what came of it, such as an upload that it aborted."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._pieces = pieces
        self.over = False
        self.problem: Exception | None = None

    async def some(self, size: int) -> bytes:
        """The first bytes, `size` or a piece more; all of them if it is `over` then."""
        gathered = bytearray()
        while len(gathered) < size:
            piece = await anext(self._pieces, None)
            if piece is None:
                self.over = True
                break
            gathered += piece
        return bytes(gathered)

    async def after(self, begun: bytes) -> AsyncIterator[bytes]:
        """All of them, `begun` being the first."""
        yield begun
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:
            self.problem = error
            raise


def _bucket(address: ArchiveAddress) -> S3Store:
    given = {"endpoint": address.endpoint, "region": address.region, "prefix": address.prefix or None}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    client: dict[str, Any] = {**_TIMEOUTS}
    if (address.endpoint or "").startswith("http://"):
        client["allow_http"] = True
    return S3Store(
        address.bucket,
        **options,
        client_options=client,  # pyright: ignore[reportArgumentType]
        retry_config={"max_retries": _RETRIES},
    )


def _said(error: Exception) -> str:
    """What happened, in words of ours: the library's have the answer of the server, and that the access key (P36)."""
    text = str(error)
    status, code, number = (pattern.search(text) for pattern in (_STATUS, _CODE, _OS_ERROR))
    if status is not None:
        return f"it answered {status[1]} {code[1] if code else ''}".rstrip()
    if number is not None:
        return os.strerror(int(number[1])).lower()
    if "HTTP error" in text:
        return "it cannot be reached, or takes too long"
    return type(error).__name__
