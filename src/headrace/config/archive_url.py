"""`archive_url`: where ended streams are archived, a directory or a bucket of S3 or of what speaks its protocol."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_EXPECTED = "expected an address such as file:///var/lib/headrace/archive or s3://bucket/prefix"
_CREDENTIALS = "credentials do not belong here: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_OPTIONS = ("endpoint", "region")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and the underscore of older buckets.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", re.ASCII)
_PREFIX = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._=-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._=-]+)*", re.ASCII)
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


class ArchiveAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A directory if `directory` is set, else a bucket."""

    directory: str = ""
    """Absolute."""
    bucket: str = ""
    prefix: str = ""
    """What all keys in the bucket begin with, without slashes around it."""
    endpoint: str | None = None
    """Another server than Amazon's."""
    region: str | None = None

    @property
    def name(self) -> str:
        """What errors and logs call it."""
        if self.directory:
            return self.directory
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_archive_url(text: str) -> ArchiveAddress:
    """`file:///directory`, or `s3://bucket/prefix` with `?endpoint=` and `&region=`.

    Raises:
        ValueError: the message says what is wrong and never shows the address, in case it has a password (P36).
    """
    try:
        parts = urlsplit(text.strip())
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if parts.scheme == "file" and not options and not parts.fragment:
        return _directory(parts.netloc, unquote(parts.path))
    if parts.scheme == "s3" and not parts.fragment:
        return _bucket(parts.netloc, unquote(parts.path).strip("/"), options)
    raise ValueError(_EXPECTED)


def _directory(host: str, path: str) -> ArchiveAddress:
    if host not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise ValueError(_EXPECTED)
    return ArchiveAddress(directory=path)


def _bucket(name: str, prefix: str, options: dict[str, str]) -> ArchiveAddress:
    if "@" in name:
        raise ValueError(_CREDENTIALS)
    if not _BUCKET.fullmatch(name) or (prefix and not _PREFIX.fullmatch(prefix)):
        raise ValueError(f"{_EXPECTED}, of letters, digits and . _ - =")
    return ArchiveAddress(bucket=name, prefix=prefix, **_checked(options))


def _checked(options: dict[str, str]) -> dict[str, str]:
    if not options.keys() <= set(_OPTIONS):
        # One of the names that the library has would be a credential.
        raise ValueError(f"what follows the ? may be {' and '.join(_OPTIONS)}; {_CREDENTIALS}")
    if "region" in options and not _REGION.fullmatch(options["region"]):
        raise ValueError("region must be a name such as eu-central-1")
    if "endpoint" in options and not _ENDPOINT.fullmatch(options["endpoint"]):
        raise ValueError("endpoint must be an address such as https://minio.example.com:9000")
    return options
