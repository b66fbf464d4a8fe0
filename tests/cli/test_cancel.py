import json

import pytest

from headrace.cli import main
from tests.cli.scripted import ScriptedServer, answer

ID = "4f2c0000000000000000000000000001"


def body(state: str) -> bytes:
    return json.dumps({"id": ID, "state": state, "text": "so far", "position": 9, "readers": 1}).encode()


@pytest.mark.parametrize("state", ["cancelled", "finished", "failed"])
def test_the_state_after_the_stop_is_printed(capsys, state):
    with ScriptedServer([answer("200 OK", body(state))]) as server:
        assert main(["cancel", f"chatcmpl-{ID}", "--url", server.url]) == 0
    assert capsys.readouterr() == (f"{state}\n", "")
    assert server.requests[0].line == f"POST /v1/streams/{ID}/cancel HTTP/1.1"


def test_a_stop_that_is_not_confirmed_is_no_success(capsys):
    with ScriptedServer([answer("202 Accepted", body("running"))]) as server:
        assert main(["cancel", ID, "--url", server.url]) == 1
    out, err = capsys.readouterr()
    assert out == "running\n"
    assert "not confirmed" in err


def test_a_stream_is_found_by_its_idempotency_key(capsys):
    with ScriptedServer([answer("200 OK", body("cancelled"))]) as server:
        assert main(["cancel", "--idempotency-key", "order-17", "--url", server.url]) == 0
    request = server.requests[0]
    assert request.line == "POST /v1/streams/cancel HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {"idempotency_key": "order-17"}


def test_an_unknown_id_is_said_in_one_line(capsys):
    unknown = b'{"error":{"code":"not_found","message":"No stream has this id.","retryable":false}}'
    with ScriptedServer([answer("404 Not Found", unknown)]) as server:
        assert main(["cancel", ID, "--url", server.url]) == 1
    assert capsys.readouterr() == ("", f"headrace: No stream has this id ({server.url})\n")


@pytest.mark.parametrize(
    "page",
    [
        answer("404 Not Found", b"<h1>nginx</h1>", "text/html"),
        answer("200 OK", b"<h1>hello</h1>", "text/html"),
        answer("200 OK", b'{"object":"list"}'),
        answer("200 OK", b'{"id":"a","state":"\\u001b[2J"}'),
        answer("500 Internal Server Error", b"\xff\xfe"),
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_another_server_is_said_in_one_line(capsys, page):
    with ScriptedServer([page]) as server:
        assert main(["cancel", ID, "--url", server.url]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("headrace: ")


@pytest.mark.parametrize("arguments", [[], [ID, "--idempotency-key", "k"]], ids=["neither", "both"])
def test_one_of_id_and_key_must_be_given(capsys, arguments):
    assert main(["cancel", *arguments]) == 2
    assert "--idempotency-key" in capsys.readouterr().err
