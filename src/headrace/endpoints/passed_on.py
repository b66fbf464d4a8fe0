"""The headers of a request that go on to a model server of the same shape; no other does (P34)."""

from __future__ import annotations

import re
from datetime import date

from starlette.datastructures import Headers

from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.dialects.base import Dialect
from headrace.errors import BadRequest
from headrace.policy.auth import checked_token

VERSION, BETA = "anthropic-version", "anthropic-beta"
DEFAULT_VERSION = "2023-06-01"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def headers_upstream(dialect: Dialect, headers: Headers) -> tuple[tuple[str, str], ...]:
    """Those of Anthropic's shape; the other shapes have none.

    Raises:
        BadRequest: one is not what it should be (P35).
    """
    if dialect is not ANTHROPIC_MESSAGES:
        return ()
    version = headers.get(VERSION, DEFAULT_VERSION)
    if not _is_date(version):
        raise BadRequest(f"{VERSION} is a date such as {DEFAULT_VERSION}.", param=VERSION)
    names = [name.strip() for line in headers.getlist(BETA) for name in line.split(",")]
    betas = ",".join(checked_token(name, BETA) for name in names if name)
    return ((VERSION, version), (BETA, betas)) if betas else ((VERSION, version),)


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:  # the thirtieth of February
        return False
    return True
