"""Links of a conversation become one request: every item once, in its order, byte for byte."""

import json
from typing import Any

import pytest

from headrace.bodies import LongBody
from headrace.codecs.long_body import LongBodyReader
from headrace.dialects.openai_responses.chain import Asked, Link, continuing, joined, previous_of, said_by

ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1.0}'}
USER = {"role": "user", "content": "And then?"}


def short(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def long_body(fields: dict[str, Any]) -> LongBody:
    """The same as a long one: every string over 64 bytes lifted, every list over 64 cut."""
    reader = LongBodyReader("t0ken", longest=64, run=64)
    reader.feed(json.dumps(fields).encode())
    return reader.finish()


FORMS = pytest.mark.parametrize("form", [short, long_body])


def together(asked: Asked, *links: Link) -> dict[str, Any]:
    return json.loads(b"".join(joined(asked, links)))


@pytest.mark.promise("P17")
@FORMS
def test_what_was_said_before_stands_before_what_is_said_now(form: Any) -> None:
    first = {"model": "a", "instructions": "Be brief, and never explain.", "input": "Hi, who are you? " * 20}
    second = {"model": "b", "input": [USER, {**USER, "content": "x" * 400}], "previous_response_id": "resp_1"}
    third = {"model": "c", "store": True, "input": [USER], "previous_response_id": "resp_2", "tools": [CALL] * 9}
    links = [Link(form(first), [json.dumps(ANSWER).encode()]), Link(form(second), [json.dumps(CALL).encode()])]
    assert together(form(third), *links) == {
        "model": "c",
        "store": True,
        "tools": [CALL] * 9,
        "input": [{"role": "user", "content": first["input"]}, ANSWER, *second["input"], CALL, USER],
    }


@FORMS
@pytest.mark.parametrize("asked", [{}, {"input": None}, {"input": []}])
def test_a_request_that_says_nothing_new_has_what_came_before(form: Any, asked: dict[str, Any]) -> None:
    link = Link(form({"input": "Hi"}), [])
    assert together(form(asked), link) == {"input": [{"role": "user", "content": "Hi"}]}
    assert together(form(asked)) == {"input": []}


@pytest.mark.promise("P18")
def test_numbers_and_strings_stay_as_they_were_written() -> None:
    asked = rb'{ "input" : [ {"arguments":"{\"a\": 1.0}", "n": 1e2, "s": "\u00e9"} ] , "temperature":1.0}'
    assert b"".join(joined(asked, ())) == (
        rb'{"temperature":1.0,"input":[{"arguments":"{\"a\": 1.0}", "n": 1e2, "s": "\u00e9"}]}'
    )


@FORMS
def test_a_request_that_goes_to_the_same_model_server_names_its_id(form: Any) -> None:
    asked = {"model": "m", "input": ["x" * 400] * 9, "previous_response_id": "resp_ours"}
    told = continuing(form(asked), "resp_theirs")
    assert previous_of(told) == "resp_theirs" and previous_of(form(asked)) == "resp_ours"
    assert b"".join(said_by(told)) == b"".join(said_by(form(asked)))


@FORMS
@pytest.mark.parametrize("asked", [{}, {"previous_response_id": None}])
def test_a_request_that_continues_nothing_names_nothing(form: Any, asked: dict[str, Any]) -> None:
    assert previous_of(form(asked)) is None
