import pytest

from headrace.bench.target import parse_target
from headrace.errors import ConfigError

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://h:8000", "http://h:8000/v1/chat/completions"),
        ("http://h:8000/", "http://h:8000/v1/chat/completions"),
        ("http://h:8000/v1", "http://h:8000/v1/chat/completions"),
        ("http://h:8000/v1/", "http://h:8000/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("https://h/api/openai", "https://h/api/openai/v1/chat/completions"),
        ("https://h/api/v1?key=a", "https://h/api/v1/chat/completions"),
        ("http://[::1]:9000", "http://[::1]:9000/v1/chat/completions"),
        ("http://h:80", "http://h/v1/chat/completions"),
        ("https://h:443", "https://h/v1/chat/completions"),
        ("https://h:80", "https://h:80/v1/chat/completions"),
    ],
)
def test_an_address_may_leave_out_any_part_of_the_endpoint(written, url):
    assert parse_target(written, CHAT).url == url


def test_a_query_is_sent_and_not_shown():
    target = parse_target("https://h/v1?key=a", CHAT)
    assert target.path == "/v1/chat/completions?key=a"
    assert "key" not in target.url


def test_a_target_is_called_by_its_name_or_by_its_host():
    assert parse_target("old=http://h:8000", CHAT).name == "old"
    assert parse_target("http://h:8000?a=b", CHAT).name == "h:8000"
    assert parse_target("https://h", CHAT).name == "h"


def test_a_whole_address_stays_as_it_is_with_its_place_holders():
    target = parse_target("http://h/ask?q={{prompt}}&é=1", "/", whole=True)
    assert target.path == "/ask?q={{prompt}}&%C3%A9=1"
    assert parse_target("http://h", "/", whole=True).path == "/"


def test_another_path_of_the_same_server():
    assert parse_target("a=http://h:1", CHAT).at("/v1/models").url == "http://h:1/v1/models"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("127.0.0.1:8000", "expected http://HOST:PORT"),
        ("localhost:8000", "expected http://HOST:PORT"),
        ("ftp://h", "expected http://HOST:PORT"),
        ("http://", "expected http://HOST:PORT"),
        ("http://h:99999", "no address"),
        ("http://h:port", "no address"),
        ("http://user:pw@h", "no password"),
        ("http://h/#top", "no fragment"),
        ("", "expected http://HOST:PORT"),
    ],
)
def test_what_is_no_address_says_what_one_is(written, words):
    with pytest.raises(ConfigError, match=words):
        parse_target(written, CHAT)
