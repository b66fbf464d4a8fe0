"""The page at `/` and its files: for everybody, revalidated, and with no way for text to become script."""

import re
from email.utils import formatdate, parsedate_to_datetime

import pytest

from tests.endpoints.serving import TWO_KEYS, serving

pytestmark = pytest.mark.anyio

APP = "/playground/app.js"
TYPES = {
    "/": "text/html; charset=utf-8",
    APP: "text/javascript; charset=utf-8",
    "/playground/style/base.css": "text/css; charset=utf-8",
    "/playground/icon.svg": "image/svg+xml",
    "/playground/client/index.js": "text/javascript; charset=utf-8",
}


@pytest.mark.parametrize("path", TYPES)
async def test_the_page_and_its_files_need_no_key_and_say_what_they_are(path: str) -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        answer = await server.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, TYPES[path])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "trusted-types 'none'" in policy


async def test_everything_else_needs_a_key_as_ever() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        for path in ("/v1/models", "/v1/streams", "/openapi.json", "/playgrounds", "/index.html"):
            assert (await server.ask("GET", path)).status == 401


async def test_a_file_that_is_known_is_not_sent_again() -> None:
    async with serving() as server:
        first = await server.ask("GET", APP)
        tag, date = first.headers["etag"], first.headers["last-modified"]
        later = formatdate(parsedate_to_datetime(date).timestamp() + 9, usegmt=True)
        for headers in (
            {"if-none-match": tag},
            {"if-none-match": f'"other", W/{tag}'},
            {"if-none-match": "*"},
            {"if-modified-since": date},
            {"if-modified-since": later},
        ):
            again = await server.ask("GET", APP, headers=headers)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)


@pytest.mark.parametrize(
    "headers",
    [
        {"if-none-match": '"other"'},
        {"if-none-match": '"other"', "if-modified-since": formatdate(4_000_000_000, usegmt=True)},
        {"if-modified-since": formatdate(0, usegmt=True)},
        {"if-modified-since": "yesterday"},
        {"if-modified-since": "Mon, 01 Jan 99999 00:00:00 GMT"},
    ],
)
async def test_a_file_that_is_not_known_is_sent(headers: dict[str, str]) -> None:
    async with serving() as server:
        assert (await server.ask("GET", APP, headers=headers)).status == 200


async def test_head_says_the_same_without_the_body() -> None:
    async with serving() as server:
        got, asked = [await server.ask(method, APP) for method in ("GET", "HEAD")]
    assert asked.status == 200 and asked.headers == got.headers


@pytest.mark.parametrize(
    "path", ["/playground/", "/playground/nothing.js", "/playground/../app.py", "/playground/%2e%2e/app.py"]
)
async def test_there_is_nothing_but_the_files(path: str) -> None:
    async with serving() as server:
        answer = await server.ask("GET", path)
        assert answer.status == 404 and answer.error_fields()["code"] == "not_found"
        assert (await server.ask("POST", APP)).headers["allow"] == "GET, HEAD"


async def test_without_the_playground_there_is_no_page() -> None:
    async with serving(playground=False) as server:
        for path in ("/", APP):
            assert (await server.ask("GET", path)).status == 404


async def test_a_page_that_came_by_a_foreign_name_is_shown_and_cannot_ask() -> None:
    async with serving() as server:
        headers = {"host": "rebound.example", "sec-fetch-site": "cross-site"}
        assert (await server.ask("GET", "/", headers=headers)).status == 200
        assert (await server.ask("GET", "/v1/models", headers=headers)).status == 403


async def test_everything_that_the_files_name_is_there_and_nothing_comes_from_elsewhere() -> None:
    async with serving() as server:
        waiting, seen = ["/"], set[str]()
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = await server.ask("GET", path)
            assert answer.status == 200, path
            text = answer.body.decode()
            named = re.findall(r'(?:src|href)="(/[^"]+)"', text) if path == "/" else []
            named += re.findall(r'from ["\']([^"\']+)["\'];', text) if path.endswith(".js") else []
            for name in named:
                found = name if name.startswith("/") else _joined(path, name)
                if found not in seen and not found.startswith("/#"):
                    waiting.append(found)
        assert len(seen) > 25
        assert "innerHTML" not in (await server.ask("GET", APP)).body.decode()


def _joined(base: str, name: str) -> str:
    parts = base.split("/")[:-1]
    for piece in name.split("/"):
        if piece == "..":
            parts.pop()
        elif piece != ".":
            parts.append(piece)
    return "/".join(parts)
