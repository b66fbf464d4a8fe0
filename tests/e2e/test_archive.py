"""What has ended is in the archive, whatever happens to the archive and to the server meanwhile."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import HEADRACE, ROOT, Server, command, eventually, serving
from tests.e2e.raw import Exchange
from tests.servers import s3
from tests.stores.redis.servers import VALKEY, free_port
from tests.stores.redis.servers import serving as redis_serving

RECORDING = ROOT / "tests" / "fixtures" / "water.ndjson"
KEY = "alice-s3cret-key"
BEARER = {"Authorization": f"Bearer {KEY}"}
ASKED: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "What is water?"}], "stream": True}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "headrace.yaml"
    models = [{"model_name": "demo", "params": {"model": f"replay/{RECORDING}", "speed": "instant"}}]
    file.write_text(json.dumps({"model_list": models}))
    return {"HEADRACE_CONFIG": str(file), "HEADRACE_API_KEYS": f"alice={KEY}"}


def asked(server: Server, path: str = "/chat/completions", body: dict[str, Any] = ASKED) -> str:
    """The id of a stream that was read to its end."""
    with Exchange(server.api + path, "POST", body, BEARER) as posted:
        assert posted.status == 200
        posted.rest()
        return posted.headers["headrace-stream-id"]


def pending(server: Server) -> int:
    with Exchange(f"{server.url}/metrics", headers=BEARER) as metrics:
        found = re.search(rb"^headrace_archive_pending ([0-9]+)", metrics.rest(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def ids_of(keys: list[str]) -> set[str]:
    return {key.rpartition("/")[2].removesuffix(".ndjson.gz") for key in keys}


@pytest.mark.promise("P5", "P36")
def test_a_directory_has_every_stream_that_was_to_be_stored_also_after_the_end(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    archive = tmp_path / "archive"
    with serving(tmp_path, **environ, HEADRACE_ARCHIVE_URL=f"file://{archive}") as server:
        first = asked(server)
        asked(server, "/responses", {"model": "demo", "input": "Hi", "stream": True, "store": False})
        eventually(lambda: pending(server) == 0)
        (file,) = archive.rglob("*.*")
        assert re.fullmatch(rf"\d{{4}}/\d\d/\d\d/alice/{first}\.ndjson\.gz", str(file.relative_to(archive)))
        exported = command(HEADRACE, "export", first, HEADRACE_URL=server.url, HEADRACE_API_KEY=KEY)
        assert (exported.returncode, exported.stderr) == (0, "")
        assert gzip.decompress(file.read_bytes()) == exported.stdout.encode()
        head, *_, end = (json.loads(line) for line in exported.stdout.splitlines())
        assert head["request"] == ASKED
        assert (end["type"], end["state"]) == ("end", "finished")
        last = {asked(server) for _ in range(5)}
    assert ids_of([str(file) for file in archive.rglob("*.*")]) == {first, *last}
    assert KEY not in exported.stdout


@pytest.mark.promise("P36")
def test_a_bucket_gets_what_was_said_while_it_was_away_also_from_a_server_that_was_killed(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    port = free_port()
    environ |= s3.CREDENTIALS | {
        "HEADRACE_ARCHIVE_URL": f"s3://{s3.BUCKET}/head/race?endpoint=http://127.0.0.1:{port}&region=us-east-1"
    }
    one, other = tmp_path / "one", tmp_path / "other"
    for directory in (one, other):
        directory.mkdir()
    with redis_serving(VALKEY, tmp_path / "valkey") as valkey:
        with serving(one, **environ, REDIS_URL=valkey.url) as server:
            ids = {asked(server) for _ in range(3)}
            eventually(lambda: pending(server) == 3)
            server.kill()
        with serving(other, **environ, REDIS_URL=valkey.url) as server:
            ids.add(asked(server))
            eventually(lambda: "not archived yet" in server.output)
            with s3.serving(port) as bucket:
                eventually(lambda: ids_of(bucket.keys) == ids)
                ids.add(asked(server))
                eventually(lambda: ids_of(bucket.keys) == ids and pending(server) == 0)
                assert all(key.startswith("head/race/2") for key in bucket.keys)
                assert gzip.decompress(bucket.read(bucket.keys[0])).startswith(b'{"type":"stream"')
            assert s3.ACCESS_KEY not in server.output and s3.SECRET_KEY not in server.output


@pytest.mark.promise("P11")
def test_an_archive_that_is_away_does_not_hold_up_the_end(tmp_path: Path, environ: dict[str, str]) -> None:
    address = f"s3://{s3.BUCKET}?endpoint=http://127.0.0.1:{free_port()}"
    with serving(tmp_path, **environ, **s3.CREDENTIALS, HEADRACE_ARCHIVE_URL=address) as server:
        stream_id = asked(server)
        assert server.end() == 0
        assert f"1 ended streams were not archived: {stream_id}" in server.output


def test_a_directory_that_cannot_be_made_is_said_in_one_line(tmp_path: Path, environ: dict[str, str]) -> None:
    refused = command(HEADRACE, "serve", "--port", "0", **environ, HEADRACE_ARCHIVE_URL=f"file://{RECORDING}/archive")
    assert refused.returncode == 2
    assert refused.stderr.startswith("headrace: archive_url: ") and len(refused.stderr.splitlines()) == 1
