"""Who asks, and from which page: tables of the rules; tests/endpoints/test_guard.py has them over HTTP."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import ApiKey, Config, Secret
from headrace.errors import BadRequest, Forbidden, Unauthorized
from headrace.policy.auth import ANONYMOUS, Access, checked_token

ALLOWED = string.ascii_letters + string.digits + "._:-"
KEYS = (ApiKey("alice", Secret("a-key")), ApiKey("bob", Secret("b-key")), ApiKey("carol", Secret("a-key-2")))
WITH_KEYS = Access(Config(api_keys=KEYS))
WITHOUT = Access(Config())
OPEN = Access(Config(no_auth=True, host="0.0.0.0"))


@pytest.mark.promise("P35")
@given(st.text(ALLOWED, min_size=1, max_size=128))
def test_a_token_of_the_allowed_characters_is_itself(text: str) -> None:
    assert checked_token(text, "name") == text


@pytest.mark.promise("P25", "P35")
@given(st.text())
def test_any_other_token_is_refused_naming_the_field(text: str) -> None:
    if 1 <= len(text) <= 128 and set(text) <= set(ALLOWED):
        return
    with pytest.raises(BadRequest) as refused:
        checked_token(text, "Idempotency-Key")
    assert refused.value.param == "Idempotency-Key"


@pytest.mark.promise("P35")
@pytest.mark.parametrize("text", ["", "a\n", "\na", "a b", "é", "٣", "a/b", "a\x00", "x" * 129, "ａ"])
def test_tokens_that_could_slip_through_do_not(text: str) -> None:
    with pytest.raises(BadRequest):
        checked_token(text, "name")


@pytest.mark.promise("P32")
@pytest.mark.parametrize(
    ("authorization", "api_key", "owner"),
    [
        ("Bearer a-key", None, "alice"),
        ("BEARER b-key", None, "bob"),
        ("Bearer a-key-2", None, "carol"),
        ("Bearer   a-key  ", None, "alice"),
        (None, "b-key", "bob"),
        ("Basic Zm9v", "b-key", "bob"),
        ("Bearer a-key", "b-key", "alice"),
    ],
)
def test_a_key_is_its_owners_name(authorization: str | None, api_key: str | None, owner: str) -> None:
    assert WITH_KEYS.owner(authorization, api_key) == owner


@pytest.mark.promise("P32", "P36")
@given(st.none() | st.text(), st.none() | st.text())
def test_anything_else_is_nobody_and_is_not_repeated(authorization: str | None, api_key: str | None) -> None:
    for header in (authorization, f"Bearer {authorization}", f"Basic {authorization}"):
        with pytest.raises(Unauthorized) as refused:
            WITH_KEYS.owner(header, api_key)
        assert refused.value.message in (
            "This API key is not known here.",
            "An API key is needed: send it as `Authorization: Bearer <key>` or `x-api-key`.",
        )


@pytest.mark.promise("P32")
def test_without_keys_everybody_is_the_same_owner() -> None:
    for access in (WITHOUT, OPEN):
        assert access.owner(None, None) == access.owner("Bearer anything", "x") == ANONYMOUS


@pytest.mark.promise("P33")
@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_with_keys_pages_are_not_looked_at(host: str, origin: str | None, site: str | None) -> None:
    WITH_KEYS.check_page(host, origin, site)


@pytest.mark.promise("P33")
@given(st.none() | st.text())
def test_only_a_loopback_name_is_a_host_without_keys(host: str | None) -> None:
    with pytest.raises(Forbidden):
        WITHOUT.check_page(f"{host}.evil.example" if host is not None else None, None, None)


@pytest.mark.promise("P33")
@given(st.text(), st.sampled_from([None, "none", "same-origin", "same-site", "cross-site"]))
def test_no_origin_but_our_own_and_the_listed_ones_gets_in(origin: str, site: str | None) -> None:
    access = Access(Config(cors_origins=("https://app.example.com",)))
    own = ("http://localhost:8000", "https://localhost:8000", "https://app.example.com")
    if origin.lower() in own or origin.lower().endswith("//localhost:8000"):
        return
    with pytest.raises(Forbidden):
        access.check_page("localhost:8000", origin, site)


@pytest.mark.promise("P33")
def test_an_open_server_takes_any_name_and_refuses_foreign_pages_all_the_same() -> None:
    OPEN.check_page("whatever.example", None, None)
    OPEN.check_page("whatever.example:80", "http://whatever.example:80", "same-origin")
    OPEN.check_page(None, None, None)
    for host, origin in (("whatever.example", "https://evil.example"), (None, "null"), ("", "null"), (None, "")):
        with pytest.raises(Forbidden):
            OPEN.check_page(host, origin, None)


@pytest.mark.promise("P33")
def test_an_open_server_that_binds_loopback_keeps_strange_names_out() -> None:
    local = Access(Config(no_auth=True, host="127.0.0.1"))
    local.check_page("localhost:8000", "http://localhost:8000", None)
    with pytest.raises(Forbidden):
        local.check_page("evil.example:8000", "http://evil.example:8000", None)
