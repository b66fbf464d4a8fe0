import pytest

from headrace.codecs.http_response import ProtocolError, Response

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + LENGTH


def fed(pieces):
    response = Response()
    body = b"".join(response.feed(piece) for piece in pieces)
    return response, body


@pytest.mark.parametrize("wire", [CHUNKED, LENGTH, UNTIL_CLOSE, INTERIM], ids=["chunks", "length", "close", "interim"])
def test_the_body_is_the_same_for_every_split(wire):
    splits = [[wire[:at], wire[at:]] for at in range(len(wire) + 1)]
    splits.append([wire[at : at + 1] for at in range(len(wire))])
    for pieces in splits:
        response, body = fed([piece for piece in pieces if piece])
        assert (response.status, body) == (200, b"abcde")
        assert response.finish()


@pytest.mark.parametrize("wire", [CHUNKED, LENGTH], ids=["chunks", "length"])
def test_a_body_that_says_where_it_ends_is_whole_there_and_not_before(wire):
    response, _ = fed([wire[:-1]])
    assert not response.complete
    response.feed(wire[-1:])
    assert response.complete and response.reusable


@pytest.mark.parametrize("wire", [CHUNKED, LENGTH], ids=["chunks", "length"])
def test_a_body_that_was_cut_is_not_whole(wire):
    for at in range(len(wire)):
        response, _ = fed([wire[:at]] if at else [])
        assert not response.finish()


def test_a_body_until_the_end_of_the_connection_is_whole_only_there():
    response, _ = fed([UNTIL_CLOSE])
    assert not response.complete
    assert response.finish()
    assert not response.reusable


def test_the_headers_of_an_interim_response_are_not_those_of_the_answer():
    response, _ = fed([INTERIM])
    assert response.headers == {"content-length": "5"}


def test_a_connection_that_is_to_be_closed_is_not_used_again():
    response, _ = fed([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"])
    assert response.complete and not response.reusable


def test_what_follows_a_whole_response_spoils_only_the_connection():
    response, body = fed([LENGTH + b"garbage"])
    assert (response.complete, response.reusable, body) == (True, False, b"abcde")


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        CHUNKED.replace(b"3\r\n", b"zz\r\n"),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_not_http_is_said(wire):
    with pytest.raises(ProtocolError, match="does not speak HTTP"):
        fed([wire])
