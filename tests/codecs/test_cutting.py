"""An object with its long lists cut out is the same object, and is refused where it would have been."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.codecs import NOT_JSON
from headrace.codecs.cutting import Cutter, ElementTooLong

texts = st.text(st.sampled_from('a"\\,:[]{}é '), max_size=6)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=20,
)
objects = st.dictionaries(texts, values, max_size=5)
SPLIT = re.compile(rb'"(?:[^"\\]|\\.)*"|.', re.DOTALL)


def pieces_of(text: bytes, size: int) -> list[bytes]:
    """The text in pieces that do not end inside a string."""
    tokens = SPLIT.findall(text)
    return [b"".join(tokens[at : at + size]) for at in range(0, len(tokens), size)]


def cut(pieces: Sequence[bytes], run: int, longest: int = 10**6) -> tuple[bytes, Cutter]:
    cutter = Cutter(longest, run)
    for piece in pieces:
        cutter.feed(piece)
    return cutter.finish(), cutter


def whole(pieces: Sequence[bytes], run: int) -> Any:
    """The value, put together again as a reader of the parts would do."""
    head, cutter = cut(pieces, run)
    value = msgspec.json.decode(head)
    for name, taken in cutter.cuts.items():
        assert name in value and not value[name]
        for text in taken.lists():
            part = msgspec.json.decode(text)
            assert part
            value[name] = value[name] + part if isinstance(part, list) else {**value[name], **part}
        assert msgspec.json.decode(b"".join(taken.whole())) == value[name]
    return value


@settings(max_examples=50)
@given(objects, st.integers(1, 40), st.integers(1, 9), st.sampled_from([None, 1]))
def test_the_parts_together_are_the_object(value: Any, run: int, size: int, indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert whole(pieces_of(text, size), run) == value
    assert whole([text], run) == value


def test_a_run_is_about_as_long_as_asked() -> None:
    messages = [{"role": "user", "content": f"number {number} [{{,"} for number in range(3000)]
    text = json.dumps({"model": "m", "messages": messages, "n": 1}).encode()
    head, cutter = cut(pieces_of(text, 50), 1000)
    assert head == b'{"model": "m", "messages": [], "n": 1}'
    runs = cutter.cuts["messages"].runs
    assert all(1000 <= len(run) <= 1100 for run in runs[:-1])
    assert [message for run in runs for message in json.loads(b"[%b]" % run)] == messages


def test_short_lists_stay() -> None:
    text = b'{"a": [1, [2], {"b": [3]}], "c": {"d": []}}'
    head, cutter = cut([text], 100)
    assert head == text and not cutter.cuts


def test_of_two_lists_with_one_name_the_last_holds() -> None:
    long, short = b'{"a": [1,2,3,4,5], "a": [6]}', b'{"a": [6], "a": [1,2,3,4,5]}'
    assert whole([long], 2) == {"a": [6]} and whole([short], 2) == {"a": [1, 2, 3, 4, 5]}


def test_an_element_over_the_limit_is_not_kept() -> None:
    cutter = Cutter(100, 10)
    with pytest.raises(ElementTooLong):
        cutter.feed(b'{"a": [[' + b"1," * 100)


WRONG = [
    "[1,2,3,]",
    "[,1,2,3]",
    "[1,,2,3]",
    "[1,2,3",
    "[1,2,[3}]",
    "[1,2,3}",
    "{1,2,3}",
    "[1 2 3 4]",
    "[1,2,3]]",
    "[1,2],3]",
    "[ , ]",
]


@pytest.mark.promise("P25")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("run", [1, 2, 3, 5])
def test_what_the_parser_refuses_is_refused_in_parts(wrong: str, run: int) -> None:
    text = f'{{"a": {wrong}, "b": 1}}'.encode()
    for size in (1, 2, 100):
        with pytest.raises(NOT_JSON):
            whole(pieces_of(text, size), run)


tokens = st.lists(st.sampled_from(["[", "]", "{", "}", ",", ":", '"a"', "1", " "]), max_size=14)


@pytest.mark.promise("P25")
@given(tokens, st.integers(1, 5), st.integers(1, 5))
def test_any_text_is_refused_or_taken_as_the_parser_does(inside: list[str], run: int, size: int) -> None:
    text = ('{"a":[' + "".join(inside) + "]}").encode()
    try:
        expected = msgspec.json.decode(text)
    except NOT_JSON:
        with pytest.raises(NOT_JSON):
            whole(pieces_of(text, size), run)
    else:
        assert whole(pieces_of(text, size), run) == expected


@pytest.mark.promise("P25")
def test_a_list_of_nothing_but_space_is_an_empty_one() -> None:
    text = b'{"a": [' + b" " * 100 + b'], "b": {' + b"\n" * 100 + b"}}"
    for size in (1, 7, 300):
        assert whole(pieces_of(text, size), 2) == {"a": [], "b": {}}
