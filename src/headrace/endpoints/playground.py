"""`GET /`: the playground, a page that shows what the server does. Its files are read once and need no key.

Whatever the page then asks the server for is asked with the visitor's own key, on the routes that everybody uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import NotFound

PATH: Final = "/"
FILES: Final = "/playground/"
_PACKAGE: Final = Path(__file__).parents[1]
_PAGE: Final = _PACKAGE / "playground"
# The page reads streams with the JavaScript client: a wheel has it beside the page, a clone where it is developed.
_CLIENT: Final = (_PAGE / "client", _PACKAGE.parents[1] / "clients" / "js" / "src")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    # No file has a version in its name, so each is asked for again and is 304 as long as it is the same.
    "cache-control": "no-cache",
    # An answer of a model must not become a part of the page: there is no way from text to markup or script.
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class _File(msgspec.Struct, frozen=True):
    body: bytes
    etag: str
    modified: int
    """Unix time in seconds, as HTTP's dates have no more."""
    media_type: str

    @property
    def headers(self) -> dict[str, str]:
        return {
            **_HEADERS,
            "content-type": self.media_type,
            "etag": self.etag,
            "last-modified": formatdate(self.modified, usegmt=True),
        }


def serves(path: str) -> bool:
    """Whether a path is the page's or one of its files': these are the same for everybody."""
    return path == PATH or path.startswith(FILES)


def router() -> APIRouter:
    """The page and its files."""
    routes = APIRouter()
    files = _files()

    async def page(request: Request) -> Response:
        return _answer(request, files["index.html"])

    async def file(request: Request, name: str) -> Response:
        found = files.get(name)
        if found is None:
            raise NotFound(f"The playground has no file {name[:128]}.")
        return _answer(request, found)

    for path, handler in ((PATH, page), (FILES + "{name:path}", file)):
        routes.add_api_route(path, handler, methods=["GET", "HEAD"], include_in_schema=False, response_class=Response)
    return routes


def _answer(request: Request, file: _File) -> Response:
    if _is_known(request, file):
        return Response(status_code=304, headers=file.headers)
    return Response(file.body, headers=file.headers)


def _is_known(request: Request, file: _File) -> bool:
    """Whether the caller has this very file: RFC 9110 13.2.2, the date only counts where there is no tag."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or file.etag in (tag.strip().removeprefix("W/") for tag in tags.split(","))
    since = request.headers.get("if-modified-since")
    try:
        return since is not None and parsedate_to_datetime(since).timestamp() >= file.modified
    except (ValueError, OverflowError):
        return False


@cache
def _files() -> Mapping[str, _File]:
    """Every file by its name in the address."""
    return dict(_found())


def _found() -> Iterator[tuple[str, _File]]:
    client = next((folder for folder in _CLIENT if folder.is_dir()), _CLIENT[0])
    for prefix, folder in (("", _PAGE), ("client/", client)):
        for path in sorted(folder.rglob("*")):
            media_type = _TYPES.get(path.suffix)
            if media_type is not None and path.is_file():
                yield prefix + path.relative_to(folder).as_posix(), _read(path, media_type)


def _read(path: Path, media_type: str) -> _File:
    body = path.read_bytes()
    tag = hashlib.sha256(body).hexdigest()[:32]
    return _File(body, f'"{tag}"', int(path.stat().st_mtime), media_type)
