"""A body with its long strings lifted out is the same body, at every split, and is refused where it would have been."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.codecs import NOT_JSON
from headrace.codecs.lifting import Lifter

MARK = "0123456789abcdef."
STAND_IN = re.compile(rf'"({MARK}\d+)"'.encode())

texts = st.text(st.sampled_from('a"\\/\n\x7fé漢😀 u{}[]:,'), max_size=40)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def lifted(pieces: Sequence[bytes], longest: int) -> tuple[bytes, Lifter]:
    lifter = Lifter(MARK, longest)
    text = b"".join(map(lifter.feed, pieces))
    lifter.finish()
    return text, lifter


def put_back(text: bytes, lifter: Lifter) -> bytes:
    return STAND_IN.sub(lambda found: b'"%b"' % b"".join(lifter.literals[found[1].decode()]), text)


def split(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[begin:end] for begin, end in itertools.pairwise(places)]


def refusal_of(body: bytes) -> bool:
    try:
        body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
    except NOT_JSON:
        return True
    return False


def lifted_refusal(pieces: Sequence[bytes], longest: int) -> bool:
    try:
        msgspec.json.decode(lifted(pieces, longest)[0], type=msgspec.Raw)
    except NOT_JSON:
        return True
    return False


@given(values, st.booleans(), st.integers(0, 12), st.lists(st.integers(0), max_size=8))
def test_putting_the_strings_back_gives_the_body_byte_for_byte(
    value: Any, ascii_only: bool, longest: int, cuts: list[int]
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    text, lifter = lifted(split(body, cuts), longest)
    assert put_back(text, lifter) == body
    assert b"".join(lifter.pieces) == body


@given(values, st.integers(0, 12), st.lists(st.integers(0), max_size=8))
def test_only_strings_over_the_threshold_are_lifted(value: Any, longest: int, cuts: list[int]) -> None:
    text, lifter = lifted(split(json.dumps(value).encode(), cuts), longest)
    assert all(len(b"".join(literal)) > longest for literal in lifter.literals.values())
    left = re.findall(rb'"(?:[^"\\]|\\.)*"', STAND_IN.sub(b"0", text))
    assert all(len(string) - 2 <= longest for string in left)


def test_every_split_in_two_gives_the_same() -> None:
    body = json.dumps({"é": ["漢😀" * 3, 'a"\\' * 5, "😀"]})
    for data in (body.encode(), json.dumps(json.loads(body), ensure_ascii=False).encode()):
        for cut in range(len(data) + 1):
            text, lifter = lifted([data[:cut], data[cut:]], 4)
            assert put_back(text, lifter) == data


def test_the_parser_sees_no_long_string() -> None:
    body = b'{"a": "' + b"x" * 5000 + b'", "b": "' + b"y" * 1024 + b'"}'
    text, lifter = lifted([body], 1024)
    assert text == b'{"a": "%s0", "b": "%s"}' % (MARK.encode(), b"y" * 1024)
    assert lifter.literals == {f"{MARK}0": [b"x" * 5000]}


WRONG = [
    b'"\\x"',
    b'"\\ud800"',
    b'"\\ud800\\u0041"',
    b'"\\ud800\\ud800\\udc00"',
    b'"\\udc00"',
    b'"\\u12g4"',
    b'"\\u12"',
    b'"a\x01"',
    b'"a\n"',
    b'"\xff"',
    b'"\xe6\xbc"',
    b'"\xed\xa0\x80"',
    b'"abc',
    b'"abc\\',
    b'"abc\\"',
    b'"abc\\u00',
    b'"abc\xe6',
    b'"',
]


@pytest.mark.promise("P25")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("longest", [0, 2, 1000])
def test_what_the_parser_refuses_is_refused_at_every_split(wrong: bytes, longest: int) -> None:
    for body in (wrong, b'["ab", ' + wrong + b"]"):
        assert refusal_of(body)
        for cut in range(len(body) + 1):
            assert lifted_refusal([body[:cut], body[cut:]], longest), (body, cut)


@pytest.mark.promise("P25")
@given(
    st.lists(st.sampled_from([b'"', b"\\", b"u", b"d83d", b"de00", b"n", b"\xe6", b"\xbc\xa2", b"a", b"[", b"]", b","]))
)
@example([b'"', b"\\", b"u", b"d83d", b"\\", b"u", b"de00", b'"'])
def test_any_bytes_are_refused_or_taken_as_the_parser_does(pieces: list[bytes]) -> None:
    for longest in (0, 3):
        assert lifted_refusal(pieces, longest) == refusal_of(b"".join(pieces))
