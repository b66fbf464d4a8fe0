"""Permission to read one stream, as a text that fits into a URL."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import Secret
from headrace.errors import Unauthorized
from headrace.policy.read_token import ReadTokens

ONE, OTHER = "a" * 32, "b" * 32
TOKENS = ReadTokens(Secret("0123456789abcdef0123456789abcdef"))

pytestmark = pytest.mark.promise("P32")


def refused(tokens: ReadTokens, token: str, stream_id: str, now: float) -> str:
    with pytest.raises(Unauthorized) as caught:
        tokens.check(token, stream_id, now)
    assert len(token) < 20 or token not in caught.value.message
    return caught.value.error_code


def test_a_token_opens_its_stream_until_it_expires() -> None:
    token = TOKENS.make(ONE, 1000)
    TOKENS.check(token, ONE, 999.9)
    assert refused(TOKENS, token, ONE, 1000) == "token_expired"


def test_a_token_opens_no_other_stream() -> None:
    assert refused(TOKENS, TOKENS.make(ONE, 1000), OTHER, 0) == "invalid_token"


def test_servers_with_one_secret_take_each_others_tokens_and_no_others() -> None:
    token = TOKENS.make(ONE, 1000)
    ReadTokens(Secret("0123456789abcdef0123456789abcdef")).check(token, ONE, 0)
    assert refused(ReadTokens(Secret("another secret of that length".replace(" ", "-"))), token, ONE, 0)
    assert refused(ReadTokens(None), token, ONE, 0) == "invalid_token"


def test_a_drawn_secret_is_another_one_each_time() -> None:
    assert ReadTokens(None).make(ONE, 1000) != ReadTokens(None).make(ONE, 1000)


@given(st.integers(0, 60), st.characters(codec="ascii"))
def test_a_changed_token_is_refused_and_never_as_expired(place: int, character: str) -> None:
    token = TOKENS.make(ONE, 1000)
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        assert refused(TOKENS, changed, ONE, 2000) == "invalid_token"


@given(st.text(max_size=80))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    assert refused(TOKENS, text, ONE, 0) == "invalid_token"


def test_a_token_needs_no_quoting_in_a_url() -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+", TOKENS.make(ONE, 2**40 - 1))
