from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.codecs import LineTooLong
from headrace.codecs.ndjson import HEARTBEAT, NDJSONDecoder, encode


def outcome(chunks: list[bytes], **limits: int) -> tuple[list[bytes], bool | str]:
    """The lines, and how it ended: pending or not, or the error."""
    decoder = NDJSONDecoder(**limits)
    lines: list[bytes] = []
    try:
        for chunk in chunks:
            lines += decoder.feed(chunk)
        decoder.finish()
    except LineTooLong:
        return lines, "line_too_long"
    return lines, decoder.pending


CASES: list[tuple[bytes, list[bytes], bool]] = [
    (b"", [], False),
    (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], False),
    (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}'], False),
    (b'\n\n{"a":1}\n\n\r\n\n{"b":2}\n\n', [b'{"a":1}', b'{"b":2}'], False),
    (b'{"a":1}\n{"b":', [b'{"a":1}'], True),
    (b'{"a":1}\n{"b":2}', [b'{"a":1}'], True),
    (b'{"a":1}\n\r', [b'{"a":1}'], False),
    (b"a\rb\n", [b"a\rb"], False),
    (b"a\r\r\n", [b"a\r"], False),
    (b" \n", [b" "], False),
    ('"é€😀\u2028\x85"\n'.encode(), ['"é€😀\u2028\x85"'.encode()], False),
    (b"\xff\n", [b"\xff"], False),
]


@pytest.mark.promise("P4")
@pytest.mark.parametrize(("stream", "lines", "pending"), CASES)
def test_lines_are_the_same_at_every_split_and_a_cut_one_is_not_received(
    stream: bytes, lines: list[bytes], pending: bool
):
    assert outcome([stream]) == (lines, pending)
    assert outcome([stream[i // 2 : i // 2 + i % 2] for i in range(2 * len(stream))]) == (lines, pending)
    for position in range(len(stream) + 1):
        assert outcome([stream[:position], stream[position:]]) == (lines, pending)


streams = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"{}", b"abc"]) | st.binary(max_size=4), max_size=30).map(
    b"".join
)
cuts = st.lists(st.integers(0, 100), max_size=10)


def cut(stream: bytes, positions: list[int]) -> list[bytes]:
    ends = [*sorted(position % (len(stream) + 1) for position in positions), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@settings(max_examples=300)
@given(stream=streams, positions=cuts, limit=st.integers(1, 10) | st.just(1000))
def test_any_bytes_give_the_same_outcome_in_any_reads(stream: bytes, positions: list[int], limit: int):
    assert outcome(cut(stream, positions), max_line_bytes=limit) == outcome([stream], max_line_bytes=limit)


@settings(max_examples=200)
@given(
    sent=st.lists(st.binary(min_size=1).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"") or b"x")),
    positions=st.lists(st.integers(0), max_size=10),
)
def test_what_is_encoded_is_decoded_and_heartbeats_are_not_lines(sent: list[bytes], positions: list[int]):
    stream = b"".join(encode(line) + HEARTBEAT for line in sent)
    assert outcome(cut(stream, positions)) == (sent, False)


@pytest.mark.parametrize("stream", [b"12345", b"12345\n", b"1234\r\n"])
def test_long_line_is_an_error_that_stays(stream: bytes):
    decoder = NDJSONDecoder(max_line_bytes=4)
    with pytest.raises(LineTooLong, match="4 bytes"):
        decoder.feed(stream)
    with pytest.raises(LineTooLong):
        decoder.feed(b"{}\n")
    with pytest.raises(LineTooLong):
        decoder.finish()


def test_lines_before_a_long_one_come_first_and_the_error_after_them():
    decoder = NDJSONDecoder(max_line_bytes=4)
    assert decoder.feed(b"1234\n12345\n6\n") == [b"1234"]
    with pytest.raises(LineTooLong):
        decoder.finish()


def searched(*args: Any, **options: Any) -> Any:
    raise AssertionError("the partial line was searched again")


SEARCHES = (
    "__contains__",
    "__iter__",
    "count",
    "find",
    "index",
    "partition",
    "replace",
    "rfind",
    "split",
    "splitlines",
)
Unsearched = type("Unsearched", (bytearray,), dict.fromkeys(SEARCHES, searched))
"""A buffer whose content may be added to and taken out, but not looked through."""


def test_a_partial_line_is_never_searched_again():
    decoder = NDJSONDecoder()
    decoder._line = Unsearched()
    for _ in range(1000):
        assert decoder.feed(b"123") == []
    assert isinstance(decoder._line, Unsearched)
    assert decoder.feed(b"\n4\n") == [b"123" * 1000, b"4"]


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b"{\r}", b"{}\r"])
def test_what_is_not_one_line_is_refused(line: bytes):
    with pytest.raises(ValueError, match="CR or LF"):
        encode(line)
