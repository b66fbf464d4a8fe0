"""One response, however the socket cuts it: framing, ends, and what is not HTTP."""

from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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


# Chunks, most of which come in a read of their own

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Chunk(NamedTuple):
    """A chunk of a body and how its sender writes it."""

    data: bytes
    size: str
    """A format for the size: in either case, and with zeros before it."""
    extension: bytes

    @property
    def wire(self) -> bytes:
        return format(len(self.data), self.size).encode() + self.extension + b"\r\n" + self.data + b"\r\n"


framing = st.sampled_from(
    [b"1\r\na\r\n", b"0\r\n\r\n", b"\r\n", b"\n", b"\r", b"5\r\n", b"a\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 16]
)
"""What a body may well hold, and only its place tells from what is around it."""
chunks = st.builds(
    Chunk,
    data=st.lists(framing | st.binary(min_size=1, max_size=20), min_size=1, max_size=3).map(b"".join),
    size=st.sampled_from(["x", "x", "x", "X", "04x", "04X"]),
    extension=st.sampled_from([b"", b"", b"", b";a", b";a=b", b';a="b"']),
)
trailers = st.sampled_from([b"", b"", b"X-Trailer: 1\r\n", b"A: b\r\nC: d\r\n"])
cuts = st.lists(st.integers(0, 400), max_size=4)
joins = st.frozensets(st.integers(0, 9), max_size=3)


def outcome(pieces):
    """All that a reader can tell after these reads."""
    response, body = fed(pieces)
    return body, response.status, response.complete, response.reusable


def cut_up(parts, positions, joined=frozenset[int]()):
    """A read for each part; some come with the next one, and some are cut again."""
    whole = b"".join(parts)
    ends = {len(whole), *(position % (len(whole) + 1) for position in positions)}
    at = 0
    for number, part in enumerate(parts):
        at += len(part)
        if number not in joined:
            ends.add(at)
    ends = sorted(ends)
    return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if end > begin]


@pytest.mark.promise("P15")
@settings(max_examples=500)
@given(body=st.lists(chunks, max_size=8), trailer=trailers, positions=cuts, joined=joins)
@example(body=[Chunk(b"a", "x", b""), Chunk(b"1\r\na\r\n", "x", b"")], trailer=b"", positions=[], joined=frozenset())
@example(body=[Chunk(b"a", "x", b"")] * 3, trailer=b"", positions=[], joined=frozenset({2}))
@example(body=[Chunk(b"a", "x", b"")] * 3, trailer=b"", positions=[len(HEAD) + 7, len(HEAD) + 9], joined=frozenset())
def test_chunks_give_the_same_body_in_any_reads(body, trailer, positions, joined):
    parts = [HEAD, *(chunk.wire for chunk in body), b"0\r\n" + trailer + b"\r\n"]
    wanted = (b"".join(chunk.data for chunk in body), 200, True, True)
    assert outcome([b"".join(parts)]) == wanted
    assert outcome(parts) == wanted
    assert outcome(cut_up(parts, positions, joined)) == wanted


@pytest.mark.promise("P6")
@settings(max_examples=200)
@given(body=st.lists(chunks, max_size=5), positions=cuts, missing=st.integers(1, 5))
def test_chunks_without_the_last_one_are_not_whole_in_any_reads(body, positions, missing):
    parts = [HEAD, *(chunk.wire for chunk in body), b"0\r\n\r\n"[:-missing]]
    response, got = fed(cut_up(parts, positions))
    assert got == b"".join(chunk.data for chunk in body)
    assert not response.complete and not response.finish() and not response.reusable


@pytest.mark.promise("P15")
@settings(max_examples=200)
@given(body=st.lists(chunks, min_size=2, max_size=6), positions=cuts)
def test_a_chunk_is_given_in_the_read_that_brings_its_end(body, positions):
    response = Response()
    read = given = 0
    ends = [len(HEAD)]
    for chunk in body:
        ends.append(ends[-1] + len(chunk.wire))
    for piece in cut_up([HEAD, *(chunk.wire for chunk in body)], positions):
        given += len(response.feed(piece))
        read += len(piece)
        assert given >= sum(len(chunk.data) for chunk, end in zip(body, ends[1:], strict=True) if end <= read)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"zz\r\nabc\r\n", id="no size"),
        pytest.param(b"2\r\nabc\r\n", id="longer than it says"),
        pytest.param(b"3\r\nabcde", id="no end"),
        pytest.param(b"-3\r\nabc\r\n", id="a size below zero"),
        pytest.param(b"0x3\r\nabc\r\n", id="a prefix"),
        pytest.param(b"\r\nabc\r\n", id="an empty size"),
    ],
)
def test_what_is_not_a_chunk_is_said_after_good_ones_too(wire):
    response, body = fed([HEAD, b"3\r\nabc\r\n", b"2\r\nde\r\n"])
    assert body == b"abcde"
    with pytest.raises(ProtocolError, match="does not speak HTTP"):
        response.feed(wire)
    assert not response.complete and not response.reusable


@pytest.mark.parametrize("wire", [b"5\r\nabc\r\n", b"a\r\nabc\r\n"])
def test_a_chunk_that_ends_like_one_is_read_as_far_as_it_says(wire):
    """The line end is the body's, because the size counts it."""
    size = int(wire.partition(b"\r\n")[0], 16)
    response, body = fed([HEAD, b"1\r\nx\r\n", wire, b"y" * (size - 5), b"\r\n0\r\n\r\n"])
    assert body == b"xabc\r\n" + b"y" * (size - 5)
    assert response.complete and response.reusable


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 500\r\n", b"Transfer-Encoding: chunked\r\n"], ids=["length", "chunks"]
)
def test_the_answer_to_a_head_is_whole_with_its_headers(framing):
    response = Response(bodiless=True)
    assert response.feed(b"HTTP/1.1 404 Not Found\r\n" + framing) == b""
    assert not response.complete
    response.feed(b"\r\n")
    assert (response.status, response.complete, response.reusable) == (404, True, True)


def test_the_answer_to_a_head_may_close_the_connection():
    response = Response(bodiless=True)
    response.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n")
    assert response.complete and not response.reusable
