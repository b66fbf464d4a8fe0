import hashlib
import json
import stat
from pathlib import Path

import pytest

from headrace.cli import main
from tests.cli.scripted import ScriptedServer, answer

ID = "4f2c0000000000000000000000000001"
LINES = b'{"type":"stream","id":"4f2c"}\n' + b'{"type":"record","raw":"%b"}\n' % (b"x" * 200_000)


def sealed(lines: bytes = LINES, sha256: str | None = None) -> bytes:
    end = {"type": "end", "records": 1, "sha256": sha256 or hashlib.sha256(lines).hexdigest()}
    return lines + json.dumps(end).encode() + b"\n"


def export(body: bytes, *options: str, status: str = "200 OK") -> tuple[int, str]:
    with ScriptedServer([answer(status, body, "application/x-ndjson")]) as server:
        code = main(["export", f"chatcmpl-{ID}", "--url", server.url, *options])
    return code, server.requests[0].line


def test_every_line_is_printed(capfdbinary):
    assert export(sealed()) == (0, f"GET /v1/streams/{ID}/export HTTP/1.1")
    assert capfdbinary.readouterr() == (sealed(), b"")


def test_a_file_has_every_line(tmp_path: Path, capsys):
    file = tmp_path / "answer.ndjson"
    assert export(sealed(), "-o", str(file))[0] == 0
    assert file.read_bytes() == sealed()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr() == ("", "")


def test_a_stream_that_runs_is_taken_as_far_as_it_is_if_that_is_meant(tmp_path: Path):
    file = str(tmp_path / "so-far.ndjson")
    assert export(sealed(), "--partial", "-o", file) == (0, f"GET /v1/streams/{ID}/export?partial=true HTTP/1.1")


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    "body",
    [LINES, sealed()[:-1], sealed()[:-20], sealed(sha256="0" * 64), sealed() + b"{}\n", b"", b"<h1>hello</h1>"],
    ids=["no last line", "no line feed", "half of it", "another sum", "more", "nothing", "a page"],
)
def test_what_is_not_whole_is_no_success_and_no_file(tmp_path: Path, capsys, body: bytes):
    file = tmp_path / "answer.ndjson"
    file.write_bytes(b"of yesterday")
    assert export(body, "-o", str(file))[0] == 1
    assert "not whole" in capsys.readouterr().err
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(file.name, b"of yesterday")]


@pytest.mark.promise("P5")
def test_a_connection_that_is_cut_is_no_success(tmp_path: Path, capsys):
    cut = answer("200 OK", sealed())[:-100]
    with ScriptedServer([cut]) as server:
        assert main(["export", ID, "--url", server.url, "-o", str(tmp_path / "a")]) == 1
    assert "was cut" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_stream_that_runs_is_said_in_one_line(capsys):
    assert export(b'{"id":"4f2c","state":"running"}', status="202 Accepted")[0] == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "headrace: the stream still runs: come back when it has ended, or give --partial\n"


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, capsys):
    missing = tmp_path / "missing" / "a.ndjson"
    assert main(["export", ID, "--url", "http://127.0.0.1:1", "-o", str(missing)]) == 1
    assert capsys.readouterr().err == f"headrace: {missing} cannot be written: No such file or directory\n"
