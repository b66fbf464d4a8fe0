"""Objects in a real directory and in a real server of S3, and what is said of one that does not take them."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace.config import Secret
from headrace.errors import ArchiveError, ConfigError
from headrace.stores.objects import Place
from tests.servers import s3

pytestmark = pytest.mark.anyio

KEY = "2026/11/21/alice/4f2c.ndjson.gz"
LONG = [os.urandom(1_000_000) for _ in range(12)]


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    with s3.serving() as running:
        yield running


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "directory":
        return Place(Secret(f"file://{tmp_path}/made/now"))
    server: s3.Server = request.getfixturevalue("server")
    server.reset()
    return bucket(server.address("a/b"), monkeypatch)


def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return Place(Secret(address))


def files(directory: Path) -> list[Path]:
    return [file for file in directory.rglob("*") if file.is_file()]


async def pieces(*parts: bytes, then: Exception | None = None) -> AsyncGenerator[bytes]:
    for part in parts:
        yield part
    if then is not None:
        raise then


def read(place: Place, request: pytest.FixtureRequest) -> bytes:
    if place.name.startswith("s3:"):
        return request.getfixturevalue("server").read(f"a/b/{KEY}")
    return Path(place.name, KEY).read_bytes()


@pytest.mark.parametrize("parts", [[], [b"one", b"two"], LONG], ids=["nothing", "short", "in parts"])
async def test_what_is_put_is_there(place: Place, parts: list[bytes], request: pytest.FixtureRequest) -> None:
    assert not await place.has(KEY)
    await place.put(KEY, pieces(*parts))
    assert await place.has(KEY)
    assert read(place, request) == b"".join(parts)


async def test_what_is_put_again_takes_the_place_of_the_first(place: Place, request: pytest.FixtureRequest) -> None:
    await place.put(KEY, pieces(b"first"))
    await place.put(KEY, pieces(b"second"))
    assert read(place, request) == b"second"


@pytest.mark.promise("P5")
@pytest.mark.parametrize("parts", [[b"short"], LONG], ids=["short", "in parts"])
async def test_pieces_that_fail_leave_nothing(
    place: Place, parts: list[bytes], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with pytest.raises(KeyError, match="gone"):
        await place.put(KEY, pieces(*parts, then=KeyError("gone")))
    assert not await place.has(KEY)
    assert not files(tmp_path)
    if place.name.startswith("s3:"):
        assert request.getfixturevalue("server").uploads == 0


async def test_an_object_of_a_bucket_says_what_it_is(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await bucket(server.address(), monkeypatch).put(KEY, pieces(b"x"))
    assert server.client.head_object(Bucket=s3.BUCKET, Key=KEY)["ContentType"] == "application/gzip"


@pytest.mark.promise("P36")
async def test_a_bucket_that_is_not_there_is_said(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket(f"s3://nobody?endpoint={server.url}", monkeypatch)
    with pytest.raises(ArchiveError) as caught:
        await place.put(KEY, pieces(b"x"))
    assert str(caught.value) == "s3://nobody: it answered 404 NoSuchBucket"


REFUSAL = f"""<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code><Message>{s3.SECRET_KEY}</Message>
<AWSAccessKeyId>{s3.ACCESS_KEY}</AWSAccessKeyId></Error>"""


@contextmanager
def answering(status: int, gate: threading.Event | None = None) -> Iterator[str]:
    """A server that answers everything so; with a gate, only then."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            if gate is not None:
                gate.wait(20)
            body = REFUSAL.encode() if status >= 300 and self.command != "HEAD" else b""
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_POST = do_DELETE = do_PUT

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"s3://audit?endpoint=http://127.0.0.1:{server.server_port}&region=us-east-1"
    finally:
        if gate is not None:
            gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.promise("P36")
@pytest.mark.parametrize("parts", [[b"short"], LONG], ids=["short", "in parts"])
@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_refusal_is_said_without_what_the_server_says_of_the_key(
    status: int, parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as address:
        place = bucket(address, monkeypatch)
        with pytest.raises(ArchiveError) as caught:
            await place.put(KEY, pieces(*parts))
        assert str(caught.value) == f"s3://audit: it answered {status} SignatureDoesNotMatch"
        assert caught.value.may_retry
        with pytest.raises(ArchiveError, match=f"it answered {status}"):
            await place.has(KEY)


async def test_a_server_that_is_away_is_said_and_found_again(
    server: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200) as away:
        pass
    place = bucket(away, monkeypatch)
    with pytest.raises(ArchiveError, match=r"s3://audit: it cannot be reached, or takes too long"):
        await place.put(KEY, pieces(b"x"))
    port = int(away.partition("&")[0].rpartition(":")[2])
    with s3.serving(port) as back:
        await place.put(KEY, pieces(b"x"))
        assert back.keys == [KEY]


async def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.stores.objects._TIMEOUTS", {"connect_timeout": "1s", "timeout": "100ms"})
    monkeypatch.setattr("headrace.stores.objects._RETRIES", 0)
    with answering(200, threading.Event()) as address, pytest.raises(ArchiveError, match="takes too long"):
        await bucket(address, monkeypatch).put(KEY, pieces(b"x"))


@pytest.mark.promise("P36")
def test_its_text_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket("s3://audit/a?endpoint=http://127.0.0.1:9", monkeypatch)
    shown = f"{place.name} {place} {vars(place)}"
    assert s3.SECRET_KEY not in shown and s3.ACCESS_KEY not in shown


async def test_a_directory_that_takes_nothing_is_said(tmp_path: Path) -> None:
    place = Place(Secret(f"file://{tmp_path}"))
    (tmp_path / "2026").write_text("a file")
    with pytest.raises(ArchiveError) as caught:
        await place.put(KEY, pieces(b"x"))
    assert str(caught.value) == f"{tmp_path}: not a directory"


def test_a_directory_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^archive_url: .*/file/archive cannot be used: "):
        Place(Secret(f"file://{tmp_path}/file/archive"))
